"""Conversions asked for through the page: shared models, results in a folder per person."""

from __future__ import annotations

import logging
import re
import secrets
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rvc_colab.audio import speech
from rvc_colab.audio.files import WRITABLE_FORMATS, probe
from rvc_colab.config import ConversionConfig, SpeechConfig
from rvc_colab.conversion.converter import NO_INDEX
from rvc_colab.conversion.folder import NamedProgress
from rvc_colab.conversion.results import ConversionResult
from rvc_colab.conversion.shared import SharedConversion
from rvc_colab.errors import AudioError, Cancelled, RVCError
from rvc_colab.memory.turns import CONVERT, Turn, Turns
from rvc_colab.progress import Progress
from rvc_colab.store.voices import DEMO
from rvc_colab.ui.jobs import Job, Line
from rvc_colab.ui.page import Page
from rvc_colab.ui.pictures import Look, look_at
from rvc_colab.workspace import write_atomically

_log = logging.getLogger(__name__)

MOST_FILES = 200
MOST_KEPT = 300  # jobs remembered; their files lie in the outputs anyway


@dataclass(frozen=True)
class Wish:
    """What a person asked for: the voice's name, its settings, with or without its index.

    With a `text`, that is spoken first and then converted.
    """

    voice: str
    config: ConversionConfig
    with_index: bool = True
    format: str = "wav"
    text: str = ""
    speech: SpeechConfig = SpeechConfig()

    def of_text(self, text: str, config: SpeechConfig) -> Wish:
        """Return the same wish with the speech of a text as its source. Raises AudioError."""
        return replace(self, text=speech.check_text(text), speech=config)


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a result, or the reason why there is none."""

    source: Path
    result: ConversionResult | None
    problem: str = ""


@dataclass(eq=False, kw_only=True)
class ConversionJob(Job):
    """One person's conversion; outcomes appear as they are made, `looks` of a single one at last.

    `owner` tells whose it is: the person, or the browser's visit where there are no cookies; `seen`
    whether how it ended was shown.
    """

    page: Page = field(repr=False)
    wish: Wish
    files: list[Path]
    owner: str = ""
    name: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    outcomes: list[Outcome] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    archive: Path | None = None
    seen: bool = False

    def work(self) -> None:
        """Speak, convert, and look at what came out."""
        folder = self.page.new_folder(self.person)
        try:
            if self.wish.text:
                self.stage("Speaking")
                self.files = [folder / "speech.wav"]
                speech.speak(self.wish.text, self.files[0], self.wish.speech)
            convert_all(self.page, self.files, self.wish, folder, self)
        finally:
            self.archive = zip_results(self.outcomes) if len(self.files) > 1 else None
        if len(self.outcomes) == 1 and (result := self.outcomes[0].result) is not None:
            assert result.target is not None
            self.looks = self._look((self.outcomes[0].source, result.target))

    def _look(self, paths: tuple[Path, Path]) -> list[Look]:
        """Look at both sounds, with their pitch where the estimator can be lent."""
        try:
            with self.page.lifecycle.manager.acquire("f0:auto") as lease:
                return [look_at(path, lease.model) for path in paths]
        except RVCError as error:
            _log.warning("The pictures have no pitch curve: %s", error.message)
            return [look_at(path) for path in paths]


class Conversions:
    """The conversions of the page, one after the other; the newest of each owner is found again."""

    def __init__(self, turns: Turns, most_waiting: int) -> None:
        self.line = Line("conversion", turns)
        self._most_waiting = most_waiting
        self._jobs: OrderedDict[str, ConversionJob] = OrderedDict()

    def submit(self, page: Page, whose: tuple[str, str], wish: Wish, sources: Sequence[str]) -> str:
        """Check what is asked for and put it in line; return its name. Raises RVCError.

        `whose` is the person whose files they are, and the owner who may look at it.
        """
        person, owner = whose
        waiting = self.line.turns.counts()[CONVERT][1]
        if waiting >= self._most_waiting:
            raise RVCError(f"{waiting} conversions wait already.", "Try again in a while.")
        files = [] if wish.text else accept(page, person, sources, wish)
        if wish.text:
            check_speech(wish)
        shared = shared_conversion(page, wish)
        turn = Turn(CONVERT, shared.has_room)
        job = ConversionJob(
            turn=turn, person=person, owner=owner, page=page, wish=wish, files=files
        )
        self._jobs[job.name] = job
        self.line.submit(job)
        for name in [n for n, old in self._jobs.items() if not old.is_live][:-MOST_KEPT]:
            self._jobs.pop(name, None)
        return job.name

    def find(self, name: str | None, owner: str) -> ConversionJob | None:
        """Return an owner's conversion by its name."""
        job = self._jobs.get(name or "")
        return job if job is not None and job.owner == owner else None

    def of(self, owner: str) -> list[ConversionJob]:
        """List an owner's conversions, the newest first."""
        return [job for job in reversed(list(self._jobs.values())) if job.owner == owner]

    def newest(self, owner: str) -> ConversionJob | None:
        """Return an owner's newest conversion."""
        return next(iter(self.of(owner)), None)

    def stop_all(self) -> None:
        """Stop all of them and wait for the one that runs."""
        for job in list(self._jobs.values()):
            if job.is_live:
                self.line.stop(job)
        self.line.close()


def shared_conversion(page: Page, wish: Wish) -> SharedConversion:
    """Make ready to convert with the models that everybody on the page shares."""
    name = page.voice(wish.voice)
    voice = DEMO if name == DEMO else str(page.workspace.weights / f"{name}.pth")
    index = None if wish.with_index else NO_INDEX
    return SharedConversion(voice, index, wish.config, page.workspace, page.lifecycle.manager)


def accept(page: Page, person: str, sources: Sequence[str], wish: Wish) -> list[Path]:
    """Check uploaded files: whose they are, that they are sound whatever their name, how many."""
    files = [page.own(source, person) for source in sources if source]
    if not files:
        raise AudioError(
            "There is no sound to convert.", "Drop a file, record, or take an example."
        )
    if len(files) > MOST_FILES:
        raise AudioError(f"{len(files)} files are too many.", f"Convert {MOST_FILES} at a time.")
    _check_format(wish)
    for file in files if len(files) == 1 else []:  # of several, each failure has its own row
        probe(file)
    return files


def check_speech(wish: Wish) -> None:
    """Check that the text can be spoken at all."""
    _check_format(wish)
    speech.check_text(wish.text)
    speech.choose_speaker(wish.speech)


def _check_format(wish: Wish) -> None:
    if wish.format not in WRITABLE_FORMATS:
        raise AudioError(
            f"There is no format {wish.format!r}.", f"Take {', '.join(WRITABLE_FORMATS)}."
        )


def convert_all(page: Page, files: Sequence[Path], wish: Wish, folder: Path, job: Any) -> None:
    """Convert files into a folder, one after the other; each outcome is added to the job's.

    A single file that fails raises; of several, each failure stands in its outcome.
    """
    taken: set[str] = set()
    shared = shared_conversion(page, wish)
    job.stage("Loading the voice")
    shared.check()
    for number, source in enumerate(files, start=1):
        job.check()
        target = folder / _result_name(source, wish, taken)
        shown: Progress = job
        if len(files) > 1:
            shown = NamedProgress(job, f"{source.name} ({number} / {len(files)})")
        try:
            probe(source)
            job.outcomes.append(Outcome(source, shared.file(source, target, shown)))
        except Cancelled:
            raise
        except RVCError as error:
            if len(files) == 1:
                raise
            problem = f"{error.message} {error.hint}".strip()
            job.outcomes.append(Outcome(source, None, problem))


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
