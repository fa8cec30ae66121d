"""What a run leaves to read: `report.json`, and `report.html`, one file with curves and sounds."""

from __future__ import annotations

import base64
import json
import platform
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import torch

from rvc_colab import __version__
from rvc_colab.training import charts
from rvc_colab.training.extract import Hearing
from rvc_colab.training.fit import FitResult
from rvc_colab.training.preprocess import Dataset
from rvc_colab.training.state import Position
from rvc_colab.training.validation import PATIENCE, overtrained
from rvc_colab.training.working_set import file_hash
from rvc_colab.workspace import write_atomically

_LOSSES = ("mel", "kl", "feature", "adversarial", "discriminator", "total")
_MOST_SOUNDS, _MOST_SOUND_BYTES = 4, 3 << 20
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;"
    "color:#1e293b}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}"
    ".verdict{font-size:1.1rem;padding:.8rem 1rem;background:#eff6ff;border-left:4px solid #2563eb}"
    "table{border-collapse:collapse}td{padding:.15rem 1rem .15rem 0;vertical-align:top}"
    "td:first-child{color:#64748b}svg{max-width:100%}li{margin:.2rem 0}"
)


def facts_of(dataset: Dataset, hearing: Hearing, fitted: FitResult) -> dict[str, Any]:
    """Gather what a run was made of and how it went."""
    minutes = dataset.seconds / 60
    return {
        "ended": fitted.ended,
        "verdict": verdict(fitted.position, minutes, fitted.ended),
        "position": asdict(fitted.position),
        "losses": fitted.losses,
        "steps_per_second": fitted.steps_per_second,
        "resumed_from": fitted.resumed_from,
        "pretrained": fitted.pretrained,
        "recordings": len(dataset.recordings),
        "pieces": sum(recording.pieces for recording in dataset.recordings),
        "dataset_seconds": dataset.seconds,
        "dataset_fingerprint": dataset.fingerprint,
        "failed": dataset.failed,
        "ignored": list(dataset.ignored),
        "encoder": hearing.encoder,
        "encoder_hash": hearing.encoder_hash,
        "f0_method": hearing.f0_method,
        "rvc_colab": __version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def verdict(position: Position, minutes: float, ended: str) -> str:
    """Say in one line how good the voice is, as far as it was measured."""
    made = f"{position.epoch} epochs on {minutes:.1f} min of voice"
    if position.best_score is None or position.smoothed_score is None:
        return (
            f"{made}. No recordings were kept apart, so nothing says how good it is: listen to "
            "the samples."
        )
    best = f"best at epoch {position.best_epoch} (score {position.best_score:.3f}, lower is better)"
    if overtrained(position):
        return f"{made}; {best}. It has overtrained since: the voice is that of the best epoch."
    if position.worse >= PATIENCE:
        return f"{made}; {best}. It gets no better any more: more epochs will hardly help."
    more = "" if ended == "finished" else f" It was {ended}."
    return f"{made}; {best}. It was still getting better: more epochs would help.{more}"


def write_reports(folder: Path, facts: dict[str, Any], files: list[Path]) -> Path:
    """Write both reports into a run's folder; `files` are the voice and its index."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    with write_atomically(folder / "report.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    with write_atomically(folder / "report.html") as temporary:
        temporary.write_text(page(folder, facts, files), encoding="utf-8")
    return folder / "report.html"


def page(folder: Path, facts: dict[str, Any], files: list[Path]) -> str:
    """Make the whole page; nothing in it is loaded from elsewhere."""
    name, lines = escape(folder.name), read_history(folder / "history.jsonl")
    settings = _read_json(folder / "run.json").get("settings", {})
    notes = "".join(f"<li>{escape(str(text))}</li>" for text in facts.get("warnings", []))
    made = {path.name: f"{path.stat().st_size:,} bytes, sha256 {file_hash(path)}" for path in files}
    provenance: dict[str, Any] = {
        key: facts[key]
        for key in (
            "encoder", "encoder_hash", "f0_method", "pretrained", "dataset_fingerprint",
            "recordings", "pieces", "dataset_seconds", "rvc_colab", "torch", "machine", "seconds",
        )
        if key in facts
    }  # fmt: skip
    picture = folder / "inspection.svg"
    sections = [
        f'<p class="verdict">{escape(str(facts.get("verdict", "")))}</p>',
        _section("Notes", f"<ul>{notes}</ul>" if notes else ""),
        _section("Curves", curves(lines, facts.get("position", {}).get("best_step"))),
        _section("Samples", sounds(folder / "samples")),
        _section("Files", _table(made)),
        _section("Recordings", picture.read_text(encoding="utf-8") if picture.is_file() else ""),
        _section("Provenance", _table(provenance)),
        _section("Settings", _table(settings)),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style><h1>{name}</h1>{''.join(sections)}</html>\n"
    )


def read_history(path: Path, most_bytes: int | None = None) -> list[dict[str, Any]]:
    """Read a run's diary, or its last `most_bytes`; lines cut off by a kill are left out."""
    if not path.is_file():
        return []
    with path.open("rb") as handle:
        if most_bytes is not None:
            handle.seek(max(0, path.stat().st_size - most_bytes))
        texts = handle.read().decode("utf-8", "replace").splitlines()
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
            lines.append({"step": float(line["step"]), **line})
        except (ValueError, KeyError, TypeError):
            continue
    return lines


def curves(lines: list[dict[str, Any]], best: float | None) -> str:
    """Draw the losses and what was measured on held-out recordings."""
    return "".join(panels(lines, best).values())


def panels(lines: list[dict[str, Any]], best: float | None) -> dict[str, str]:
    """Draw each curve as a picture of its own: title → SVG; `best` is the step to point at."""

    def points(key: str) -> list[tuple[float, float]]:
        return [
            (float(line["step"]), float(line[key]))
            for line in lines
            if isinstance(line.get(key), int | float)
        ]

    drawn = {name: charts.curves(name, {name: points(name)}) for name in _LOSSES if points(name)}
    measured = {n: points(f"validation/{n}") for n in ("score", "smoothed")}
    if measured["score"]:
        drawn["Held out: score"] = charts.curves("Held out: score", measured, best)
        for name in ("mel", "kl", "f0_correlation"):
            if found := points(f"validation/{name}"):
                title = f"Held out: {name}"
                drawn[title] = charts.curves(title, {name: found}, best)
    return drawn


def sounds(folder: Path) -> str:
    """Put the newest samples into the page as players."""
    if not folder.is_dir():
        return ""
    found = sorted(folder.glob("*.flac"), key=lambda path: path.name)[-_MOST_SOUNDS:]
    players = ""
    for path in found:
        if path.stat().st_size <= _MOST_SOUND_BYTES:
            sound = base64.b64encode(path.read_bytes()).decode()
            players += (
                f"<p>{escape(path.stem)}<br>"
                f'<audio controls src="data:audio/flac;base64,{sound}"></audio></p>'
            )
    return players


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>{body}" if body else ""


def _table(values: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, float):
            value = round(value, 6)
        return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))

    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{shown(value)}</td></tr>"
        for key, value in values.items()
        if value not in (None, "", [])
    )
    return f"<table>{rows}</table>" if rows else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
