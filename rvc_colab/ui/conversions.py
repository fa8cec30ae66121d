"""Conversions asked for through the page: shared models, results in a folder per person."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvc_colab.audio.files import WRITABLE_FORMATS, probe
from rvc_colab.config import ConversionConfig
from rvc_colab.conversion.converter import NO_INDEX
from rvc_colab.conversion.results import ConversionResult
from rvc_colab.conversion.shared import SharedConversion
from rvc_colab.errors import AudioError, Cancelled, RVCError
from rvc_colab.progress import Progress
from rvc_colab.store.voices import DEMO
from rvc_colab.ui.page import Page
from rvc_colab.workspace import write_atomically

MOST_FILES = 200


@dataclass(frozen=True)
class Wish:
    """What a person asked for: the voice's name, its settings, with or without its index."""

    voice: str
    config: ConversionConfig
    with_index: bool = True
    format: str = "wav"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a result, or the reason why there is none."""

    source: Path
    result: ConversionResult | None
    problem: str = ""


def shared_conversion(page: Page, wish: Wish) -> SharedConversion:
    """Make ready to convert with the models that everybody on the page shares."""
    name = page.voice(wish.voice)
    voice = DEMO if name == DEMO else str(page.workspace.weights / f"{name}.pth")
    index = None if wish.with_index else NO_INDEX
    return SharedConversion(voice, index, wish.config, page.workspace, page.lifecycle.manager)


def convert_files(
    page: Page, person: str, sources: Sequence[str], wish: Wish, progress: Progress
) -> list[Outcome]:
    """Convert uploaded files into a new folder of this person's, one after the other.

    A single file that fails raises; of several, each failure stands in its outcome.
    """
    files = [_checked(page, person, source) for source in sources if source]
    if not files:
        raise AudioError(
            "There is no sound to convert.", "Drop a file, record, or take an example."
        )
    if len(files) > MOST_FILES:
        raise AudioError(f"{len(files)} files are too many.", f"Convert {MOST_FILES} at a time.")
    if wish.format not in WRITABLE_FORMATS:
        raise AudioError(
            f"There is no format {wish.format!r}.", f"Take {', '.join(WRITABLE_FORMATS)}."
        )
    folder = page.new_folder(person)
    outcomes: list[Outcome] = []
    taken: set[str] = set()
    shared = shared_conversion(page, wish)
    shared.check()
    for source in files:
        progress.check()
        target = folder / _result_name(source, wish, taken)
        try:
            outcomes.append(Outcome(source, shared.file(source, target, progress)))
        except Cancelled:
            raise
        except RVCError as error:
            if len(files) == 1:
                raise
            outcomes.append(Outcome(source, None, f"{error.message} {error.hint}".strip()))
    return outcomes


def _checked(page: Page, person: str, source: str) -> Path:
    """Check a file by its content, whatever its name says, and that it is this person's."""
    path = page.own(source, person)
    probe(path)
    return path


def _result_name(source: Path, wish: Wish, taken: set[str]) -> str:
    stem = re.sub(r"[^\w .\-]", "_", source.stem)[:60].strip(" .") or "sound"
    name, number = f"{stem}_{wish.voice}", 2
    while f"{name}.{wish.format}" in taken:
        name, number = f"{stem}_{number}_{wish.voice}", number + 1
    taken.add(f"{name}.{wish.format}")
    return f"{name}.{wish.format}"


def zip_results(outcomes: Sequence[Outcome]) -> Path | None:
    """Put the results of several files into one zip beside them; None when there are none."""
    targets = [o.result.target for o in outcomes if o.result is not None and o.result.target]
    if not targets:
        return None
    path = targets[0].parent / "results.zip"
    with write_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for target in targets:
            archive.write(target, target.name)
    return path


def row_of(outcome: Outcome) -> list[Any]:
    """Return file, result, seconds, warnings: one row of the table of results."""
    result = outcome.result
    if result is None:
        return [outcome.source.name, "–", "–", outcome.problem]
    name = result.target.name if result.target else "–"
    return [outcome.source.name, name, f"{result.seconds:.2f}", " ".join(result.warnings)]
