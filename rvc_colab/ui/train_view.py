"""How a dataset and a training run look on the page."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rvc_colab.audio.files import probe
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError, RVCError
from rvc_colab.hardware import facts, plan_training
from rvc_colab.ui.job_view import stage_bar
from rvc_colab.ui.page import Page
from rvc_colab.ui.pictures import curve_picture, look_at, sound_picture, table
from rvc_colab.ui.player import listen
from rvc_colab.ui.texts import say
from rvc_colab.ui.training_jobs import TrainingJob
from rvc_colab.workspace import safe_name, write_atomically

MOST_PICTURES = 6
MOST_SAMPLES = 4
_TAIL_BYTES = 1 << 20


def take_in(page: Page, person: str, name: str, files: Sequence[str]) -> Path:
    """Copy dropped recordings into `datasets/NAME`, each checked by its content."""
    folder = page.workspace.root / "datasets" / safe_name(name)
    for file in files:
        source = page.own(file, person)
        probe(source)
        target = folder / source.name
        if target.exists() and target.stat().st_size == source.stat().st_size:
            continue
        with write_atomically(target) as temporary:
            shutil.copyfile(source, temporary)
    return folder


def dataset_report(dataset: Any, language: str) -> str:
    """Say what a folder of recordings holds, what is left out and why, with pictures."""
    usable = [recording for recording in dataset.recordings if recording.pieces]
    words = say(
        "train.dataset",
        language,
        minutes=f"{dataset.seconds / 60:.1f}",
        files=len(usable),
        pieces=sum(recording.pieces for recording in usable),
    )
    rows = [(r.path, f"{r.seconds:.1f}", r.pieces, len(r.dropped)) for r in dataset.recordings]
    header = [
        say(f"train.column.{name}", language) for name in ("file", "seconds", "pieces", "left_out")
    ]
    pictures = []
    for recording in usable[:MOST_PICTURES]:
        try:
            look = look_at(Path(dataset.folder) / recording.path)
        except RVCError:
            continue
        pictures.append(
            f"<small>{html.escape(recording.path)}</small>{sound_picture(look, recording.path)}"
        )
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in dataset.warnings()[:50])
    advice = f"<p>{html.escape(say('train.short', language))}</p>" if dataset.seconds < 300 else ""
    summary = f"<p><strong>{html.escape(words)}</strong></p>{advice}"
    return f"{summary}{table(header, rows)}<ul>{notes}</ul>{''.join(pictures)}"


def plan_in_words(page: Page, config: TrainingConfig) -> str:
    """Say how this machine would train."""
    try:
        plan = plan_training(
            facts(page.workspace.root, ask_torch=True), config.sample_rate, config.batch_size
        )
    except RVCError as error:
        return f"{error.message} {error.hint}"
    return plan.in_words()


def status(page: Page, job: TrainingJob | None, folder: Path, language: str) -> str:
    """Draw a job: state, stage, time left, curves."""
    parts = []
    if job is not None:
        state = say(f"train.state.{job.state}", language)
        parts.append(
            f'<p role="status"><strong>{html.escape(job.name)}</strong>: {html.escape(state)}</p>'
        )
        if job.state == "waiting":
            parts.append(say("train.position", language, number=page.jobs.position(job)))
        if job.state == "running":
            parts.append(stage_bar(job, language))
        if job.message:
            parts.append(f"<p>{html.escape(job.message)}</p>")
        parts += [f"<br><small>{html.escape(text)}</small>" for text in job.warnings[:20]]
    parts.append(curve_picture(say("train.curves", language), history_curves(folder)))
    return f'<div class="rvc-card">{"".join(parts)}</div>'


def history_curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the losses of a run from its diary: name → (step, value)."""
    path = folder / "history.jsonl"
    if not path.is_file():
        return {}
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = handle.read().decode("utf-8", "replace").splitlines()
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        try:
            record = json.loads(line)
            step = float(record.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # cut off by a kill, or where the tail begins
        for name, value in record.items():
            wanted = "/" not in name or name.startswith("validation/")
            if wanted and name not in {"epoch", "learning_rate"} and isinstance(value, int | float):
                curves.setdefault(name, []).append((step, float(value)))
    return dict(list(curves.items())[:6])


def samples(page: Page, person: str, folder: Path) -> str:
    """Offer the newest samples of a run; they are copied to where only this person reads."""
    found = sorted((folder / "samples").glob("*.flac"), key=lambda path: path.stat().st_mtime)
    if not found:
        return ""
    target = page.outputs / (person or "open-samples") / f"samples-{folder.name}"
    target.mkdir(parents=True, exist_ok=True)
    for path in found[-MOST_SAMPLES:]:
        if not (target / path.name).exists():
            with write_atomically(target / path.name) as temporary:
                shutil.copyfile(path, temporary)
    return "".join(listen(target / path.name, path.stem) for path in found[-MOST_SAMPLES:])


def check_start(name: str, files: Sequence[str], folder: str) -> None:
    """Refuse to start without a name or recordings."""
    if not name.strip():
        raise DatasetError("The voice has no name yet.", "Give it one.")
    safe_name(name)
    if not files and not folder.strip():
        raise DatasetError("There are no recordings.", "Drop files, or name a folder.")
