"""How a dataset and a training run look on the page."""

from __future__ import annotations

import html
import shutil
from collections.abc import Sequence
from pathlib import Path

from rvc_colab.audio.files import probe
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError, RVCError
from rvc_colab.hardware import facts, plan_training
from rvc_colab.training import report
from rvc_colab.training.inspection import Inspection
from rvc_colab.training.preprocess import Dataset
from rvc_colab.training.report import read_history
from rvc_colab.training.runs import TRAINING, list_runs, read_run
from rvc_colab.ui.job_view import TRAINING_STAGES, card, line, stage_bar
from rvc_colab.ui.page import Page
from rvc_colab.ui.pictures import chart, look_at, sound_picture, table
from rvc_colab.ui.player import file_address, listen
from rvc_colab.ui.texts import say
from rvc_colab.ui.training_jobs import DONE, FAILED, RUNNING, STOPPED, WAITING, TrainingJob
from rvc_colab.workspace import safe_name, write_atomically

MOST_PICTURES = 6
MOST_SAMPLES = 4
MOST_NOTES = 20
MOST_RUNS = 30
SHORT_SECONDS = 300
_TAIL_BYTES = 1 << 20


def take_in(page: Page, person: str, name: str, files: Sequence[str]) -> Path:
    """Copy dropped recordings into a folder of this person's, each checked by its content."""
    folder = page.datasets(person) / safe_name(name)
    for file in files:
        source = page.own(file, person)
        probe(source)
        target = folder / source.name
        if target.exists() and target.stat().st_size == source.stat().st_size:
            continue
        with write_atomically(target) as temporary:
            shutil.copyfile(source, temporary)
    return folder


def dataset_report(inspection: Inspection, dataset: Dataset, language: str) -> str:
    """Say what a folder of recordings holds, what is wrong with it, what is left out and why."""
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
    findings = [(finding.serious, finding.in_words()) for finding in inspection.findings]
    findings += [(False, text) for text in dataset.warnings()[:50]]
    notes = "".join(
        f'<li class="{"rvc-problem" if serious else ""}">{"⚠ " if serious else ""}'
        f"{html.escape(text)}</li>"
        for serious, text in dict.fromkeys(findings)
    )
    measured = inspection.in_words().splitlines()[: -max(1, len(inspection.findings))]
    advice = say("train.short", language) if dataset.seconds < SHORT_SECONDS else ""
    lines = "".join(line(text) for text in [*measured, advice] if text)
    notes = f"<ul>{notes}</ul>" if notes else line(say("train.no_faults", language))
    picture = chart(inspection.picture, say("train.pictures", language))
    summary = f"<p><strong>{html.escape(words)}</strong></p>{lines}{notes}"
    return card(summary) + table(header, rows) + picture + _waves(dataset)


def _waves(dataset: Dataset) -> str:
    """Draw the first recordings."""
    pictures = []
    for recording in [r for r in dataset.recordings if r.pieces][:MOST_PICTURES]:
        try:
            look = look_at(Path(dataset.folder) / recording.path)
        except RVCError:
            continue
        name = html.escape(recording.path)
        pictures.append(f"<small>{name}</small>{sound_picture(look, recording.path)}")
    return "".join(pictures)


def plan_in_words(page: Page, config: TrainingConfig, language: str) -> str:
    """Say how this machine would train."""
    try:
        plan = plan_training(
            facts(page.workspace.root, ask_torch=True), config.sample_rate, config.batch_size
        )
        text = plan.in_words()
    except RVCError as error:
        text = f"{error.message} {error.hint}"
    title = html.escape(say("train.plan", language))
    lines = "".join(line(words) for words in text.splitlines())
    return f'<div class="rvc-card"><strong>{title}</strong>{lines}</div>'


def status(page: Page, name: str, language: str) -> str:
    """Draw how a run stands: its state, the way it has come, the time left, what it found."""
    job = page.jobs.find(name)
    if job is None:
        return _rested(page, name, language)
    state = say(f"train.state.{job.state}", language)
    title = f"<p><strong>{html.escape(name)}</strong>: {html.escape(state)}</p>"
    parts = [title]
    if job.state == WAITING:
        parts.append(line(say("train.position", language, number=page.jobs.position(job))))
    if job.state == RUNNING:
        parts += [_way(job, language), stage_bar(job, language)]
        parts += [line(say("convert.stopping", language))] if job.cancelled else []
    parts += [line(job.message)] if job.message else []
    if job.state == DONE or (job.state == STOPPED and job.message):
        parts.append(line(say("train.find", language, name=name)))
    notes = "".join(f"<li>{html.escape(text)}</li>" for text in job.warnings[:MOST_NOTES])
    return card("".join(parts) + (f"<ul>{notes}</ul>" if notes else ""), job.state == FAILED)


def _rested(page: Page, name: str, language: str) -> str:
    """Say how a run stands that nobody started since the page was opened."""
    run = read_run(name, page.workspace)
    if run is None:
        return ""
    if run.alive:
        return card(line(say("train.elsewhere", language, name=name)))
    key = "train.broken_off" if run.state == TRAINING else "train.rests"
    return card(line(say(key, language, name=name, state=run.state)))


def _way(job: TrainingJob, language: str) -> str:
    """Draw the stages of a training, those behind it ticked."""
    names = list(TRAINING_STAGES.values())
    now = next((n for n, name in enumerate(names) if job.stage_name.startswith(name)), -1)
    items = ""
    for number, key in enumerate(TRAINING_STAGES):
        mark = "done" if number < now else "now" if number == now else "ahead"
        current = ' aria-current="step"' if mark == "now" else ""
        words = html.escape(say(f"stage.{key}", language))
        items += f'<li class="rvc-{mark}"{current}>{"✓ " if mark == "done" else ""}{words}</li>'
    return f'<ol class="rvc-steps">{items}</ol>'


def history_mark(folder: Path) -> str:
    """Return a mark that changes when a run has new curves or samples."""
    history, sounds = folder / "history.jsonl", list((folder / "samples").glob("*.flac"))
    size = history.stat().st_size if history.is_file() else 0
    return f"{folder.name} {size} {len(sounds)}"


def curves(folder: Path) -> str:
    """Draw the losses of a run and what was measured on held-out recordings."""
    lines = read_history(folder / "history.jsonl", _TAIL_BYTES)
    measured = [(float(n["validation/score"]), n["step"]) for n in lines if "validation/score" in n]
    best = min(measured)[1] if measured else None
    panels = [chart(svg, title) for title, svg in report.panels(lines, best).items()]
    return f'<div class="rvc-charts">{"".join(panels)}</div>' if panels else ""


def runs_table(page: Page, names: Sequence[str], language: str) -> str:
    """List runs with how far each is, the newest first."""
    known = [summary for summary in list_runs(page.workspace) if summary.name in names]
    if not known:
        return ""
    columns = ("run", "run_state", "epoch", "step", "score", "size")
    header = [say(f"train.column.{column}", language) for column in columns]
    rows = [
        (
            summary.name,
            summary.state,
            *("–" if value is None else value for value in (summary.epoch, summary.step)),
            "–" if summary.best_score is None else f"{summary.best_score:.3f}",
            f"{summary.bytes / 1e6:.0f} MB",
        )
        for summary in known[:MOST_RUNS]
    ]
    return table(header, rows)


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


def report_link(page: Page, person: str, folder: Path, language: str) -> str:
    """Offer the report of a finished run."""
    source = folder / "report.html"
    if not source.is_file():
        return ""
    target = page.outputs / (person or "open-samples") / f"samples-{folder.name}" / "report.html"
    with write_atomically(target) as temporary:
        shutil.copyfile(source, temporary)
    words = html.escape(say("train.report", language))
    name = html.escape(f"{folder.name}-report.html")
    return f'<a class="rvc-download" download="{name}" href="{file_address(target)}">⬇ {words}</a>'


def check_start(name: str, files: Sequence[str], folder: str) -> None:
    """Refuse to start without a name or recordings."""
    if not name.strip():
        raise DatasetError("The voice has no name yet.", "Give it one.")
    safe_name(name)
    if not files and not folder.strip():
        raise DatasetError("There are no recordings.", "Drop files, or name a folder.")
