"""Who may work on the device now: one after the other, in the order in which they asked.

Training takes hours, so a conversion may run beside it where the memory manager has the room for
its models; otherwise it waits for the end like everything else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rvc_colab.progress import Progress

CONVERT, TRAIN = "convert", "train"
LOOK_SECONDS = 0.5  # how often a stop, and room that came free beside a training, are noticed


@dataclass(eq=False)
class Turn:
    """One piece of work in line. `has_room` tells whether it fits beside a training.

    `begun` once it works; `beside` when it does so while a training goes on.
    """

    kind: str
    has_room: Callable[[], bool] = field(default=lambda: False, repr=False)
    begun: bool = False
    beside: bool = False


@dataclass(frozen=True)
class Standing:
    """How a turn stands: how many come before it, and whether one of them is a training at work."""

    ahead: int
    behind_training: bool


class Turns:
    """The line of one process. Safe from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: list[Turn] = []

    def join(self, turn: Turn) -> Turn:
        """Put a turn at the end of the line; `take` waits for it."""
        with self._changed:
            self._line.append(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """Take a turn out of the line: it is done, or nobody wants it any more."""
        with self._changed:
            if turn in self._line:
                self._line.remove(turn)
            self._changed.notify_all()

    @contextlib.contextmanager
    def take(self, turn: Turn, progress: Progress) -> Iterator[None]:
        """Wait until it is this turn's time, and keep the place while the block runs.

        Raises Cancelled when a stop is asked for while waiting.
        """
        try:
            while not self._begin(turn):
                progress.check()
                with self._changed:
                    self._changed.wait(LOOK_SECONDS)
            progress.check()
            yield
        finally:
            self.leave(turn)

    def _begin(self, turn: Turn) -> bool:
        """Begin if nobody is in the way, or only a training beside which there is room."""
        with self._changed:
            ahead = self._ahead(turn)
        beside = turn.kind == CONVERT and all(o.kind == TRAIN and o.begun for o in ahead)
        # Asked without the lock: it reads files. Meanwhile those ahead can only become fewer.
        beside = beside and bool(ahead) and turn.has_room()
        with self._changed:
            ahead = self._ahead(turn)
            if ahead and not beside:
                return False
            turn.begun, turn.beside = True, bool(ahead)
            return True

    def _ahead(self, turn: Turn) -> list[Turn]:
        return self._line[: self._line.index(turn)] if turn in self._line else []

    def standing(self, turn: Turn) -> Standing:
        """Tell how a turn stands; nobody is ahead of one that has begun."""
        with self._changed:
            ahead = [] if turn.begun else self._ahead(turn)
        return Standing(len(ahead), any(o.kind == TRAIN and o.begun for o in ahead))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Count by kind what works and what waits."""
        with self._changed:
            line = list(self._line)
        made = {}
        for kind in (CONVERT, TRAIN):
            begun = sum(turn.begun for turn in line if turn.kind == kind)
            made[kind] = (begun, sum(turn.kind == kind for turn in line) - begun)
        return made
