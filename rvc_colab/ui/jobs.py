"""Work that goes on while no browser looks: jobs in line, each with its state and progress."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass, field

from rvc_colab.errors import Cancelled, RVCError
from rvc_colab.memory.turns import Turn, Turns
from rvc_colab.progress import SilentProgress

_log = logging.getLogger(__name__)

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
STOP_SECONDS = 60.0


@dataclass(eq=False, kw_only=True)
class Job:
    """One piece of work of one person, and how far it is.

    It is the progress that its own work reports to; the page reads it. Seconds are of the current
    stage. `error` is why it failed.
    """

    turn: Turn
    person: str = ""
    state: str = WAITING
    stage_name: str = ""
    total: int = 0
    done: int = 0
    note: str = ""
    message: str = ""
    warnings: list[str] = field(default_factory=list)
    error: Exception | None = None
    stage_begun: float = 0.0
    stopper: SilentProgress = field(default_factory=SilentProgress, repr=False)
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def work(self) -> None:
        """Do it. Raises RVCError; Cancelled after a stop."""
        raise NotImplementedError

    def changed(self) -> None:
        """Take note that the state is another one now."""

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


class Line:
    """Do jobs one after the other in one thread, each in its turn on the device.

    One thread, since each that ever ran a network keeps memory of its own.
    """

    def __init__(self, name: str, turns: Turns) -> None:
        self.turns = turns
        self._name = name
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Put a job in line."""
        with self._lock:
            self.turns.join(job.turn)
            self._waiting.put(job)
            if self._worker is None:
                self._worker = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._worker.start()

    def stop(self, job: Job) -> None:
        """Ask a job to stop: at once where it waits, at its next safe point where it runs."""
        job.stopper.cancel()
        if job.state == WAITING:
            self.turns.leave(job.turn)
            job.state = STOPPED
            job.changed()

    def close(self) -> None:
        """End the thread after the jobs in line, which should have been stopped before."""
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is not None:
                self._waiting.put(None)
        if worker is not None:
            worker.join(STOP_SECONDS)

    def _serve(self) -> None:
        while (job := self._waiting.get()) is not None:
            if job.is_live:  # else it was stopped while it waited
                self._run(job)
            job.ended.set()

    def _run(self, job: Job) -> None:
        try:
            with self.turns.take(job.turn, job):
                job.state = RUNNING
                job.changed()
                job.work()
            state = STOPPED if job.cancelled else DONE
        except Cancelled:
            state = STOPPED
        except RVCError as error:
            state, job.error = FAILED, error
            job.message = f"{error.message} {error.hint}".strip()
        except Exception as error:
            _log.exception("A job failed.")
            state, job.error = FAILED, error
            job.message = f"{type(error).__name__}: {error}"
        job.state = state
        job.changed()
