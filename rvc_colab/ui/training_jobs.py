"""Trainings that go on while no browser looks: one at a time, in the order they were asked for."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import Cancelled, RVCError, TrainingError
from rvc_colab.memory import Lifecycle
from rvc_colab.progress import SilentProgress
from rvc_colab.workspace import Workspace, safe_name, write_atomically

_log = logging.getLogger(__name__)

RECORD = "page.json"
WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
STOP_SECONDS = 60.0


@dataclass
class TrainingJob:
    """One training: what was asked for, and how far it is. `seconds` are of the current stage."""

    name: str
    folder: str
    config: TrainingConfig
    person: str = ""
    state: str = WAITING
    stage_name: str = ""
    total: int = 0
    done: int = 0
    note: str = ""
    message: str = ""
    warnings: list[str] = field(default_factory=list)
    stage_begun: float = 0.0
    stopper: SilentProgress = field(default_factory=SilentProgress, repr=False)

    # The progress protocol, told by the journey and read by the page.

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a named stage."""
        self.stage_name, self.total, self.done, self.note = name, total or 0, 0, ""
        self.stage_begun = time.monotonic()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units."""
        self.done += units
        self.note = note or self.note

    def check(self) -> None:
        """Raise `Cancelled` when a stop was asked for."""
        self.stopper.check()

    @property
    def cancelled(self) -> bool:
        """Tell whether a stop was asked for."""
        return self.stopper.cancelled

    @property
    def is_live(self) -> bool:
        """Tell whether it runs or waits."""
        return self.state in {WAITING, RUNNING}

    @property
    def seconds_left(self) -> float | None:
        """Estimate the rest of the current stage in seconds; None when it cannot be told."""
        if not self.total or not self.done or self.state != RUNNING:
            return None
        spent = time.monotonic() - self.stage_begun
        return spent / self.done * max(0, self.total - self.done)

    def record(self) -> dict[str, Any]:
        """Return plain values, for the file beside the run and for programs."""
        names = ("name", "folder", "state", "stage_name", "total", "done", "note", "message")
        return {name: getattr(self, name) for name in names} | {"warnings": list(self.warnings)}


class TrainingJobs:
    """Run trainings one after the other in a thread of their own."""

    def __init__(self, workspace: Workspace, lifecycle: Lifecycle) -> None:
        self._workspace, self._lifecycle = workspace, lifecycle
        self._waiting: queue.Queue[TrainingJob | None] = queue.Queue()  # None: nothing follows
        self._jobs: dict[str, TrainingJob] = {}
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def submit(self, job: TrainingJob) -> TrainingJob:
        """Put a training in line. Raises TrainingError when one of that name runs or waits."""
        safe_name(job.name)
        with self._lock:
            if (known := self._jobs.get(job.name)) is not None and known.is_live:
                raise TrainingError(
                    f"A training of {job.name} is {known.state} already.",
                    "Stop it first, or give another name.",
                )
            self._jobs[job.name] = job
            self._keep(job)
            self._waiting.put(job)
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="training", daemon=True)
                self._worker.start()
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
        """Return how many trainings come before this one."""
        with self._lock:
            live = [other for other in self._jobs.values() if other.is_live]
        return live.index(job) if job in live else 0

    def stop(self, name: str) -> None:
        """Ask a training to stop; it finishes its step and saves."""
        job = self.find(name)
        if job is None or not job.is_live:
            raise TrainingError(f"There is no running training of {name!r}.", "Look at the list.")
        job.stopper.cancel()
        if job.state == WAITING:
            job.state = STOPPED

    def stop_all(self) -> None:
        """Ask every training to stop and wait for them to save."""
        with self._lock:
            live, worker = [job for job in self._jobs.values() if job.is_live], self._worker
        for job in live:
            job.stopper.cancel()
        if worker is not None:
            self._waiting.put(None)
            worker.join(STOP_SECONDS)

    def _work(self) -> None:
        while True:
            try:
                job = self._waiting.get(timeout=STOP_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._waiting.empty():
                        self._worker = None
                        return
                continue
            if job is None:
                return
            self._run(job)

    def _run(self, job: TrainingJob) -> None:
        from rvc_colab.training import recipe

        try:
            job.check()
            job.state = RUNNING
            self._keep(job)
            self._lifecycle.preload_for_task("train")
            try:
                result = recipe.train(job.name, job.folder, job.config, self._workspace, job)
            finally:
                self._lifecycle.cleanup_for_task("train")
            job.warnings, job.message = result.warnings, str(result.report.get("ended", ""))
            job.state = STOPPED if job.cancelled else DONE
        except Cancelled:
            job.state = STOPPED
        except RVCError as error:
            job.state, job.message = FAILED, f"{error.message} {error.hint}".strip()
        except Exception as error:
            _log.exception("The training of %s failed.", job.name)
            job.state, job.message = FAILED, f"{type(error).__name__}: {error}"
        self._keep(job)

    def _keep(self, job: TrainingJob) -> None:
        """Write beside the run whose it is and how it stands, for the time after a restart."""
        record = job.record() | {
            "person": job.person,
            "settings": job.config.model_dump(mode="json"),
        }
        try:
            with write_atomically(self._workspace.run(job.name) / RECORD) as temporary:
                temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
        except OSError as error:
            _log.warning("The state of %s could not be written: %s", job.name, error)


def runs_of(workspace: Workspace, person: str, everybody: bool) -> list[str]:
    """List the runs that can go on: a person's own, those of nobody, or everybody's."""
    found = []
    for folder in sorted(workspace.logs.iterdir()):
        if (folder / "dataset.json").is_file() or (folder / RECORD).is_file():
            owner = kept_record(folder).get("person", "")
            if everybody or not owner or owner == person:
                found.append(folder.name)
    return found


def kept_record(folder: Path) -> dict[str, Any]:
    """Read what the page wrote beside a run; empty when it did not start it."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}
