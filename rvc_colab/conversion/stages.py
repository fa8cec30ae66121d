"""Seconds per stage of one conversion, and the same spans for the active profiler."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

from rvc_colab import profiling


def settler(device: torch.device) -> Callable[[], None]:
    """Return what waits for `device`, so that its work counts in the stage that asked for it."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


class StageClock:
    """Sum wall seconds by stage name, in the order in which the names first came."""

    def __init__(
        self,
        settle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._settle, self._clock = settle, clock

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block as one pass through the stage `name`."""
        begun = self._clock()
        try:
            with profiling.stage(name):
                yield
                self._settle()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - begun
