"""Pictures for the tutorials: a sound, two sounds side by side, a run's losses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.errors import NotebookError
from rvc_colab.notebook.widgets import carded, play, show_picture
from rvc_colab.workspace import Workspace, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_SECONDS = 30.0


@carded
def show_sounds(*paths: str | Path) -> None:
    """Play sounds and draw them: waveform, mel spectrogram, pitch, of their first 30 s."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(paths), 6.5), layout="constrained")
    axes = figure.subplots(3, len(paths), sharey="row", squeeze=False)
    for column, path in enumerate(map(Path, paths)):
        play(path)
        _draw_sound(axes[:, column], path)
    for row, label in enumerate(("amplitude", "mel band", "f0 in Hz")):
        axes[row, 0].set_ylabel(label)
    _show(figure, "sounds")


def _draw_sound(axes: Any, path: Path) -> None:
    import numpy as np
    import torch

    from rvc_colab.audio.files import read
    from rvc_colab.audio.spectral import log_mel_from_wave, spectrogram_config
    from rvc_colab.config import CONTENT_RATE, FRAMES_PER_SECOND
    from rvc_colab.features.f0 import load_f0_estimator

    wave, _ = read(path, CONTENT_RATE)
    wave = wave[: int(LONGEST_SECONDS * CONTENT_RATE)]
    f0_hz = load_f0_estimator("auto")(wave)
    mel = log_mel_from_wave(torch.from_numpy(wave)[None], spectrogram_config(CONTENT_RATE))[0]
    seconds = len(wave) / CONTENT_RATE
    axes[0].plot(np.arange(len(wave)) / CONTENT_RATE, wave, linewidth=0.4)
    axes[0].set_title(path.name)
    extent = (0.0, seconds, 0.0, float(mel.shape[0]))
    axes[1].imshow(mel.numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma")
    times = np.arange(len(f0_hz)) / FRAMES_PER_SECOND
    axes[2].plot(times, np.where(f0_hz > 0, f0_hz, np.nan))
    axes[2].set_xlabel("seconds")


@carded
def show_losses(workspace: Workspace, name: str) -> None:
    """Draw a training run's losses over its steps."""
    import json

    from matplotlib.figure import Figure

    path = workspace.run(name) / "history.jsonl"
    if not path.is_file():
        raise NotebookError(f"The run {name} has no history yet.", "Train it first.")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    known = ("mel", "kl", "feature", "adversarial", "discriminator")
    names = [n for n in known if any(n in row for row in rows)]
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    for axis, loss in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        points = [(row["step"], row[loss]) for row in rows if loss in row]
        axis.plot(*zip(*points), marker=".")
        axis.set_title(loss)
        axis.set_xlabel("step")
    _show(figure, f"losses_{name}")


def _show(figure: Figure, name: str) -> None:
    path = Workspace.locate().cache / "pictures" / f"{name}.png"
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=90)
    show_picture(path)
