"""Trainings that go on while no browser looks: one at a time, in the order they were asked for."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import TrainingError
from rvc_colab.memory import Lifecycle
from rvc_colab.memory.turns import TRAIN, Turn, Turns
from rvc_colab.ui.jobs import DONE, FAILED, RUNNING, STOPPED, WAITING, Job, Line
from rvc_colab.workspace import Workspace, safe_name, write_atomically

__all__ = ["DONE", "FAILED", "RUNNING", "STOPPED", "WAITING", "TrainingJob", "TrainingJobs"]
_log = logging.getLogger(__name__)

RECORD = "page.json"


@dataclass(eq=False)
class TrainingJob(Job):
    """One training: what was asked for, and how far it is."""

    name: str
    folder: str
    config: TrainingConfig
    turn: Turn = field(default_factory=lambda: Turn(TRAIN), kw_only=True)
    workspace: Workspace | None = field(default=None, kw_only=True, repr=False)
    lifecycle: Lifecycle | None = field(default=None, kw_only=True, repr=False)

    def record(self) -> dict[str, Any]:
        """Return plain values, for the file beside the run and for programs."""
        names = ("name", "folder", "state", "stage_name", "total", "done", "note", "message")
        return {name: getattr(self, name) for name in names} | {"warnings": list(self.warnings)}

    def work(self) -> None:
        """Train; a stop is no error, it ends with a snapshot and a voice."""
        from rvc_colab.training import recipe

        assert self.workspace is not None and self.lifecycle is not None
        self.lifecycle.preload_for_task("train")
        try:
            result = recipe.train(self.name, self.folder, self.config, self.workspace, self)
        finally:
            self.lifecycle.cleanup_for_task("train")
        self.warnings = result.warnings
        self.message = str(result.report.get("verdict", result.report.get("ended", "")))

    def changed(self) -> None:
        """Write beside the run whose it is and how it stands, for the time after a restart."""
        if self.workspace is None:
            return
        record = self.record() | {
            "person": self.person,
            "settings": self.config.model_dump(mode="json"),
        }
        try:
            with write_atomically(self.workspace.run(self.name) / RECORD) as temporary:
                temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
        except OSError as error:
            _log.warning("The state of %s could not be written: %s", self.name, error)


class TrainingJobs:
    """The trainings of the page, by the name of their voice."""

    def __init__(
        self, workspace: Workspace, lifecycle: Lifecycle, turns: Turns | None = None
    ) -> None:
        self._workspace, self._lifecycle = workspace, lifecycle
        self._line = Line("training", turns or Turns())
        self._jobs: dict[str, TrainingJob] = {}
        self._lock = threading.Lock()

    def submit(self, job: TrainingJob) -> TrainingJob:
        """Put a training in line. Raises TrainingError when one of that name runs or waits."""
        safe_name(job.name)
        job.workspace, job.lifecycle = self._workspace, self._lifecycle
        with self._lock:
            if (known := self._jobs.pop(job.name, None)) is not None and known.is_live:
                self._jobs[job.name] = known
                raise TrainingError(
                    f"A training of {job.name} is {known.state} already.",
                    "Stop it first, or give another name.",
                )
            self._jobs[job.name] = job
            job.changed()
            self._line.submit(job)
        return job

    def find(self, name: str) -> TrainingJob | None:
        """Return the job of a name, running, waiting or ended."""
        with self._lock:
            return self._jobs.get(name)

    def of(self, person: str) -> list[TrainingJob]:
        """List a person's jobs, the newest last."""
        with self._lock:
            return [job for job in self._jobs.values() if job.person == person]

    def position(self, job: TrainingJob) -> int:
        """Return how many pieces of work come before this training."""
        return self._line.turns.standing(job.turn).ahead

    def stop(self, name: str) -> None:
        """Ask a training to stop; it finishes its step and saves."""
        job = self.find(name)
        if job is None or not job.is_live:
            raise TrainingError(f"There is no running training of {name!r}.", "Look at the list.")
        self._line.stop(job)

    def stop_all(self) -> None:
        """Ask every training to stop and wait for them to save."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.is_live:
                self._line.stop(job)
        self._line.close()


def runs_of(workspace: Workspace, person: str, everybody: bool) -> list[str]:
    """List the runs that can go on: a person's own, those of nobody, or everybody's."""
    found = []
    for folder in sorted(workspace.logs.iterdir()):
        if (folder / "dataset.json").is_file() or (folder / RECORD).is_file():
            owner = kept_record(folder).get("person", "")
            if everybody or not owner or owner == person:
                found.append(folder.name)
    return found


def claim_run(folder: Path, person: str, recordings: Path) -> None:
    """Note whose a new run is as soon as its recordings are looked at, before it is asked for."""
    if not person or (folder / RECORD).exists() or (folder / "dataset.json").exists():
        return
    with write_atomically(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"person": person, "folder": str(recordings)}), "utf-8")


def kept_record(folder: Path) -> dict[str, Any]:
    """Read what the page wrote beside a run; empty when it did not start it."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}
