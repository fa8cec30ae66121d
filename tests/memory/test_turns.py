"""One device, many who want it: order, trainings, room beside them, and those who give up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rvc_colab.errors import Cancelled
from rvc_colab.memory.turns import CONVERT, TRAIN, Turn, Turns
from rvc_colab.progress import SilentProgress

PATIENCE = 10.0


class _Worker:
    """A thread that takes a turn and keeps it until it is told to end."""

    def __init__(self, turns: Turns, turn: Turn) -> None:
        self.turn, self.stop = turn, SilentProgress()
        self.began, self.end, self.gone = (threading.Event() for _ in range(3))
        self.cancelled = False
        self._turns = turns
        turns.join(turn)
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            with self._turns.take(self.turn, self.stop):
                self.began.set()
                self.end.wait(PATIENCE)
        except Cancelled:
            self.cancelled = True
        self.gone.set()

    def finish(self) -> None:
        self.end.set()
        assert self.gone.wait(PATIENCE)


@pytest.fixture
def come() -> Any:
    turns, workers = Turns(), []

    def one(kind: str, has_room: Callable[[], bool] = lambda: False) -> _Worker:
        workers.append(_Worker(turns, Turn(kind, has_room)))
        return workers[-1]

    yield turns, one
    for worker in workers:
        worker.stop.cancel()
        worker.end.set()


def test_conversions_follow_each_other_in_order(come: Any) -> None:
    turns, one = come
    first, second, third = (one(CONVERT) for _ in range(3))
    assert first.began.wait(PATIENCE)
    assert [turns.standing(w.turn).ahead for w in (first, second, third)] == [0, 1, 2]
    assert not second.began.is_set() and not third.began.is_set()
    first.finish()
    assert second.began.wait(PATIENCE) and not third.began.is_set()


def test_a_conversion_waits_for_a_training_that_leaves_no_room(come: Any) -> None:
    turns, one = come
    training = one(TRAIN)
    assert training.began.wait(PATIENCE)
    conversion = one(CONVERT)
    standing = turns.standing(conversion.turn)
    assert standing.ahead == 1 and standing.behind_training
    assert not conversion.began.wait(0.05)
    training.finish()
    assert conversion.began.wait(PATIENCE) and not conversion.turn.beside


def test_where_there_is_room_a_conversion_runs_beside_a_training(come: Any) -> None:
    turns, one = come
    training = one(TRAIN)
    assert training.began.wait(PATIENCE)
    conversion = one(CONVERT, lambda: True)
    assert conversion.began.wait(PATIENCE) and conversion.turn.beside
    assert turns.counts() == {CONVERT: (1, 0), TRAIN: (1, 0)}


def test_room_never_lets_two_conversions_or_two_trainings_run_together(come: Any) -> None:
    _, one = come
    training, conversion = one(TRAIN), one(CONVERT, lambda: True)
    assert conversion.began.wait(PATIENCE) and training.began.is_set()
    another, more = one(CONVERT, lambda: True), one(TRAIN, lambda: True)
    conversion.finish()
    assert another.began.wait(PATIENCE) and not more.began.is_set()
    another.finish()
    assert not more.began.wait(0.05)
    training.finish()
    assert more.began.wait(PATIENCE)


def test_nobody_runs_beside_a_training_that_waits_itself(come: Any) -> None:
    _, one = come
    first, training = one(CONVERT), one(TRAIN)
    assert first.began.wait(PATIENCE)
    behind = one(CONVERT, lambda: True)
    assert not behind.began.wait(0.05) and not training.began.is_set()
    first.finish()
    assert training.began.wait(PATIENCE) and behind.began.wait(PATIENCE)


def test_who_gives_up_while_waiting_leaves_the_line(come: Any) -> None:
    turns, one = come
    first, second, third = (one(CONVERT) for _ in range(3))
    assert first.began.wait(PATIENCE)
    second.stop.cancel()
    assert second.gone.wait(PATIENCE) and second.cancelled
    assert turns.standing(third.turn).ahead == 1


def test_an_error_in_the_work_gives_the_turn_back(come: Any) -> None:
    turns, one = come
    broken = turns.join(Turn(CONVERT))
    with pytest.raises(RuntimeError), turns.take(broken, SilentProgress()):
        raise RuntimeError("broken")
    assert one(TRAIN).began.wait(PATIENCE)
