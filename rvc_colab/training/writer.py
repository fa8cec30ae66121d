"""Write snapshots beside the training: a background thread works on copies, the step goes on."""

from __future__ import annotations

import logging
import threading

from rvc_colab.errors import SnapshotError, TrainingError
from rvc_colab.training.snapshots import Snapshot, Snapshots

_log = logging.getLogger(__name__)

RETRY_SECONDS = 15.0


class SnapshotWriter:
    """Write one snapshot at a time; a full disk is said aloud and the run goes on.

    The thread is no daemon: a process that ends lets the snapshot that is being written be
    finished.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self._thread: threading.Thread | None = None
        self._refused: SnapshotError | None = None
        self._broken: BaseException | None = None
        self._failures = 0

    @property
    def busy(self) -> bool:
        """Tell whether a snapshot is being written."""
        return self._thread is not None and self._thread.is_alive()

    def interval(self, seconds: float) -> float:
        """Return the time to wait between snapshots: shorter while the disk refuses them."""
        return seconds if self._refused is None else min(seconds, RETRY_SECONDS)

    @property
    def warnings(self) -> list[str]:
        """Say how often the disk refused, in words."""
        if not self._failures:
            return []
        times = "once" if self._failures == 1 else f"{self._failures} times"
        then = "" if self._refused else " Later ones were written."
        return [f"A snapshot could not be written {times}; the run went on.{then}"]

    def begin(self, snapshot: Snapshot, best: int | None = None) -> None:
        """Begin to write; waits for the one before. `snapshot` must not change any more."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(snapshot, best), name="snapshot")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the one being written. Raises TrainingError for what no full disk explains."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise TrainingError(f"A snapshot could not be written: {broken!r}.") from broken

    def finish(self, snapshot: Snapshot, best: int | None = None) -> None:
        """Write the last snapshot here and now.

        Where the disk is full, older ones give way, all but the newest whole one and the best.
        Raises SnapshotError when that does not help.
        """
        self.wait()
        try:
            self.snapshots.write(snapshot, best)
        except SnapshotError as error:
            gone = self.snapshots.make_room(best)
            if not gone:
                raise
            steps = ", ".join(map(str, gone))
            _log.warning("%s The snapshots of step %s give way to it.", error.message, steps)
            self.snapshots.write(snapshot, best)
        self._refused = None

    def _write(self, snapshot: Snapshot, best: int | None) -> None:
        try:
            self.snapshots.write(snapshot, best)
        except SnapshotError as error:
            self._refused, self._failures = error, self._failures + 1
            steps = self.snapshots.steps()
            kept = f"that of step {steps[-1]} stays" if steps else "there is none yet"
            _log.warning(
                "%s Training goes on, %s; trying again in at most %g s. %s",
                error.message,
                kept,
                RETRY_SECONDS,
                error.hint,
            )
        except BaseException as error:  # handed to the thread that trains
            self._broken = error
        else:
            if self._refused is not None:
                _log.warning("Snapshots are written again: that of step %d.", snapshot.step)
            self._refused = None
