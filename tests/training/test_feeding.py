"""Batches prepared ahead are those gathered on the spot; errors and stops leave nobody waiting."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.feeding import Buffered, Parts, Place, Plain, Shares
from rvc_colab.training.networks import synthesizer_config
from rvc_colab.training.sampler import BatchPlan

START = Place(0, 0, 0)
LONG = 20.0  # seconds after which a test counts as stuck


@pytest.fixture
def shares(tiny_config: TrainingConfig) -> Shares:
    random = np.random.default_rng(0)
    clips = [
        Clip(
            random.standard_normal(160 * frames).astype(np.float32),
            random.standard_normal((frames // 2, 256)).astype(np.float16),
            np.full(frames, 200.0, dtype=np.float32),
        )
        for frames in (40, 50, 60, 46, 44)
    ]
    store = ClipStore(clips, spectrogram_config(16000, "v1"))
    plan = BatchPlan(len(clips), 1, 2)
    return Shares(store, plan, synthesizer_config(tiny_config), 0, torch.device("cpu"))


def _within(seconds: float, action: Callable[[], Any]) -> Any:
    """Run something in a thread; fail instead of hanging."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(action())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "stuck"
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _same(one: Parts, two: Parts) -> bool:
    pairs = [
        (a, b)
        for (batch, draw), (other, other_draw) in zip(one, two, strict=True)
        for a, b in zip((*vars(batch).values(), *vars(draw).values()),
                        (*vars(other).values(), *vars(other_draw).values()), strict=True)
    ]  # fmt: skip
    return all(torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in pairs)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_buffer_gives_what_is_gathered_on_the_spot(shares: Shares, size: int) -> None:
    plain, buffered, place = Plain(shares), Buffered(shares, size, end=8), START
    for _ in range(8):
        assert _same(plain.take(place), _within(LONG, partial(buffered.take, place)))
        place = shares.after(place)
    assert place == Place(8, 2, 2)
    buffered.close()


def test_a_place_out_of_order_is_given_too(shares: Shares) -> None:
    buffered = Buffered(shares, 2)
    for place in (START, Place(7, 2, 1), START):
        assert _same(_within(LONG, partial(buffered.take, place)), shares.parts(place))
    buffered.close()


def test_beyond_the_end_nobody_waits(shares: Shares) -> None:
    buffered = Buffered(shares, 2, end=1)
    for place in (START, shares.after(START)):
        assert _same(_within(LONG, partial(buffered.take, place)), shares.parts(place))


def test_an_error_of_the_background_is_raised_where_the_step_is_taken(
    shares: Shares, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [True]
    gather = ClipStore.gather

    def gather_once(*values: Any) -> Any:
        if failing:
            failing.clear()
            raise MemoryError("no memory for a batch")
        return gather(*values)

    monkeypatch.setattr(ClipStore, "gather", gather_once)
    buffered = Buffered(shares, 2)
    with pytest.raises(MemoryError, match="no memory for a batch"):
        _within(LONG, partial(buffered.take, START))
    assert _same(_within(LONG, partial(buffered.take, START)), shares.parts(START))
    buffered.close()


def test_closing_ends_the_thread_while_the_buffer_is_full(shares: Shares) -> None:
    before = threading.active_count()
    buffered = Buffered(shares, 1)
    buffered.take(START)
    _within(LONG, buffered.close)
    assert threading.active_count() == before


def test_closing_frees_the_one_who_waits(shares: Shares, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()
    parts = Shares.parts

    def slow(self: Shares, place: Place) -> Parts:
        begun.set()
        assert release.wait(LONG)
        return parts(self, place)

    monkeypatch.setattr(Shares, "parts", slow)
    buffered = Buffered(shares, 1)
    taken: list[Parts] = []
    taker = threading.Thread(target=lambda: taken.append(buffered.take(START)), daemon=True)
    taker.start()
    assert begun.wait(LONG)
    release.set()
    _within(LONG, buffered.close)
    taker.join(LONG)
    assert not taker.is_alive() and len(taken) == 1


def test_a_start_waits_for_a_full_buffer_and_the_delay(shares: Shares) -> None:
    buffered, begun = Buffered(shares, 3), time.monotonic()
    _within(LONG, lambda: buffered.fill(START, 0.3, lambda: False))
    assert time.monotonic() - begun >= 0.3
    assert len(buffered._items) == 3
    buffered.close()


def test_a_stop_ends_the_wait_for_the_start(shares: Shares) -> None:
    buffered = Buffered(shares, 1)
    _within(LONG, lambda: buffered.fill(START, 3600.0, lambda: True))
    buffered.close()
