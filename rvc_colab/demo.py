"""The offline demo: the shipped clip in the shipped voice, with a picture and a report."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.progress import Progress
from rvc_colab.workspace import write_atomically

if TYPE_CHECKING:
    import numpy as np

SEED = 0
PITCH_TOLERANCE = 0.03  # relative; half a semitone


@dataclass(frozen=True)
class DemoResult:
    """What the demo left in `folder`, and its report as written to report.json."""

    folder: Path
    report: dict[str, Any]


@dataclass(frozen=True)
class _Sound:
    """One sound with what the picture shows: mono at 16 kHz, pitch at 100 frames per second."""

    title: str
    wave: np.ndarray
    f0_hz: np.ndarray


def demo(
    output: str | os.PathLike[str] = "demo",
    *,
    workspace: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Convert the shipped clip into the shipped voice without any download.

    Leaves source.wav, converted.wav, picture.png and report.json in `output`.
    """
    from rvc_colab.api import convert
    from rvc_colab.store.assets import bundled

    begun = time.perf_counter()
    folder = Path(output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    source, converted = folder / "source.wav", folder / "converted.wav"
    with write_atomically(source) as temporary:
        shutil.copyfile(bundled("clip.wav"), temporary)
    transpose = demo_transpose()
    result = convert(
        source,
        converted,
        voice="demo",
        workspace=workspace,
        progress=progress,
        seed=SEED,
        transpose=transpose,
    )
    before, after = _sound("source", source), _sound("converted", converted)
    wanted = before.f0_hz * 2 ** (transpose / 12)
    report = {
        **result.record(),
        "voice": "demo",
        "transpose": transpose,
        "voiced_frames_at_the_asked_pitch": round(pitch_agreement(wanted, after.f0_hz), 4),
        "median_f0_hz": {"source": _median(before.f0_hz), "converted": _median(after.f0_hz)},
    }
    _draw(folder / "picture.png", before, after, wanted)
    report["seconds_total"] = round(time.perf_counter() - begun, 2)
    with write_atomically(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, default=str), encoding="utf-8")
    return DemoResult(folder, report)


def demo_transpose() -> float:
    """Return the shift in semitones that brings the clip's speaker to the demo voice's pitch."""
    from rvc_colab.store.assets import bundled

    card = json.loads(bundled("demo.json").read_text(encoding="utf-8"))
    return float(card.get("demo_transpose", 0.0))


def pitch_agreement(wanted_hz: np.ndarray, found_hz: np.ndarray) -> float:
    """Return the share of frames voiced in both whose pitch lies within 3 % of the wanted one."""
    import numpy as np

    frames = min(len(wanted_hz), len(found_hz))
    wanted, found = wanted_hz[:frames], found_hz[:frames]
    voiced = (wanted > 0) & (found > 0)
    if not voiced.any():
        return 0.0
    return float(np.mean(np.abs(found[voiced] / wanted[voiced] - 1) <= PITCH_TOLERANCE))


def _median(f0_hz: np.ndarray) -> float:
    import numpy as np

    return round(float(np.median(f0_hz[f0_hz > 0])), 1) if (f0_hz > 0).any() else 0.0


def _sound(title: str, path: Path) -> _Sound:
    from rvc_colab.audio.files import read
    from rvc_colab.config import CONTENT_RATE
    from rvc_colab.features.f0 import load_f0_estimator

    wave, _ = read(path, CONTENT_RATE)
    return _Sound(title, wave, load_f0_estimator("auto")(wave))


def _draw(path: Path, before: _Sound, after: _Sound, wanted_hz: np.ndarray) -> None:
    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from rvc_colab.audio.spectral import log_mel_from_wave, spectrogram_config
    from rvc_colab.config import CONTENT_RATE, FRAMES_PER_SECOND

    figure = Figure(figsize=(12, 7.5), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True, sharey="row")
    for column, sound in enumerate((before, after)):
        seconds = len(sound.wave) / CONTENT_RATE
        wave_axis, mel_axis, f0_axis = axes[:, column]
        wave_axis.plot(np.arange(len(sound.wave)) / CONTENT_RATE, sound.wave, linewidth=0.4)
        wave_axis.set_title(sound.title)
        mel = log_mel_from_wave(
            torch.from_numpy(sound.wave)[None], spectrogram_config(CONTENT_RATE)
        )
        extent = (0.0, seconds, 0.0, float(mel.shape[1]))
        mel_axis.imshow(mel[0].numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma")
        times = np.arange(len(sound.f0_hz)) / FRAMES_PER_SECOND
        f0_axis.plot(times, np.where(sound.f0_hz > 0, sound.f0_hz, np.nan), label="found")
        f0_axis.set_xlabel("seconds")
    times = np.arange(len(wanted_hz)) / FRAMES_PER_SECOND
    asked = np.where(wanted_hz > 0, wanted_hz, np.nan)
    axes[2, 1].plot(times, asked, linestyle="--", label="asked")
    axes[2, 1].legend(loc="upper right")
    for row, label in enumerate(("amplitude", "mel band", "f0 in Hz")):
        axes[row, 0].set_ylabel(label)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=100)
