"""What each step trains on, prepared ahead in the background into a bounded buffer.

Every way to prepare it gives the same numbers: clips follow from seed, epoch and position, draws
from seed and step, and draws are always made on the device that trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.training.batches import Batch, ClipStore, Draw, draw_for, part_of
from rvc_colab.training.sampler import BatchPlan, step_seed

Parts = list[tuple[Batch, Draw]]
_LOOK_SECONDS = 0.5  # between two looks whether to stop, while waiting for a buffer to fill


@dataclass(frozen=True)
class Place:
    """Which step of a run: steps before it, its epoch, and its number in the epoch."""

    step: int
    epoch: int
    batch: int


@dataclass(frozen=True)
class Shares:
    """Gather the parts of any step for one process; a pure function of the place.

    `device` is where the networks are; the clips may lie elsewhere, and spectrograms are computed
    where they lie.
    """

    clips: ClipStore
    plan: BatchPlan
    config: SynthesizerConfig
    process: int
    device: torch.device

    def after(self, place: Place) -> Place:
        """Return the place of the step that follows."""
        if place.batch + 1 >= self.plan.steps_per_epoch:
            return Place(place.step + 1, place.epoch + 1, 0)
        return Place(place.step + 1, place.epoch, place.batch + 1)

    def parts(self, place: Place) -> Parts:
        """Gather this process's share of a step's clips, and its random draws.

        The draws are made for the whole step in every process, so that they do not depend on how
        many processes share it.
        """
        clips = self.plan.batch(place.epoch, place.batch)
        return self.parts_of(clips, step_seed(self.plan.seed, place.step))

    def parts_of(self, clips: list[int], seed: int) -> Parts:
        """Gather these clips, all passes and processes together, as the parts of one step."""
        plan, lengths_of = self.plan, self.clips.lengths
        frames = self.clips.padded_frames(clips, self.config.segment_frames)
        lengths = torch.tensor([lengths_of[i] for i in clips], device=self.device)
        generator = torch.Generator(self.device).manual_seed(seed)
        draw = draw_for(lengths, frames, self.config, generator)
        mean_frames = sum(lengths_of[i] for i in clips) / (plan.parts * plan.processes)
        spans = [plan.share(part, self.process) for part in range(plan.parts)]
        return [
            (
                moved(self.clips.gather(clips[first:last], frames, mean_frames), self.device),
                part_of(draw, first, last),
            )
            for first, last in spans
        ]


def moved(batch: Batch, device: torch.device) -> Batch:
    """Bring a batch to the device that trains, without waiting where its memory can be pinned."""
    if batch.wave.device == device:
        return batch

    def move(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.device.type == "cpu" and device.type == "cuda":
            value = value.pin_memory()
        return value.to(device, non_blocking=True)

    fields = {f.name: move(getattr(batch, f.name)) for f in dataclasses.fields(batch)}
    return Batch(**fields)


class Feeder(Protocol):
    """Hands out the parts of one step after the other; counts how long was waited for them."""

    waited_seconds: float

    def take(self, place: Place) -> Parts:
        """Return the parts of a step; errors of the background are raised here."""

    def close(self) -> None:
        """Stop preparing and let go of what was prepared."""


class Plain:
    """Gather each step's parts when they are asked for."""

    def __init__(self, shares: Shares) -> None:
        self.shares, self.waited_seconds = shares, 0.0

    def take(self, place: Place) -> Parts:
        """Gather the parts now."""
        begun = time.perf_counter()
        parts = self.shares.parts(place)
        self.waited_seconds += time.perf_counter() - begun
        return parts

    def close(self) -> None:
        """Nothing runs in the background."""


@dataclass
class _Prepared:
    place: Place
    parts: Parts
    ready: Any  # an event of the device's side stream, or None


class Buffered:
    """Gather up to `size` steps ahead in a thread; on a GPU on a stream of its own.

    Steps from `end` on are not prepared. A step that is not the next one in the buffer (after a
    resume, say) empties it and begins there.
    """

    def __init__(self, shares: Shares, size: int, end: int | None = None) -> None:
        self.shares, self.size, self.end = shares, size, end
        self.waited_seconds = 0.0
        self._changed = threading.Condition()
        self._items: deque[_Prepared] = deque()
        self._error: BaseException | None = None
        self._ended = False  # nothing more will be put into the buffer
        self._next: Place | None = None  # the place that `take` will ask for, if all goes on
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def fill(self, place: Place, delay: float, stopped: Callable[[], bool]) -> None:
        """Wait until the buffer is full and `delay` seconds have passed, or `stopped` says so."""
        begun = time.monotonic()
        self._begin(place)
        while not stopped():
            left = delay - (time.monotonic() - begun)
            with self._changed:
                if self._error is not None or (self._is_full() and left <= 0):
                    return
                self._changed.wait(min(_LOOK_SECONDS, left) if left > 0 else _LOOK_SECONDS)

    def take(self, place: Place) -> Parts:
        """Return the parts of a step, waiting for them if need be."""
        begun = time.perf_counter()
        if place != self._next:
            self._begin(place)
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            item = self._items.popleft() if self._items else None
            self._changed.notify_all()
            if item is None and self._error is not None:
                self._next = None  # a further try begins anew
                raise self._error
        self._next = self.shares.after(place)
        if item is None:  # closed meanwhile, or beyond the end
            return self.shares.parts(place)
        if item.ready is not None:
            _await(item, self.shares.device)
        self.waited_seconds += time.perf_counter() - begun
        return item.parts

    def close(self) -> None:
        """End the thread, wait for it, and drop what was prepared."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread, self._next, self._error = None, None, None
        self._items.clear()

    def _begin(self, place: Place) -> None:
        self.close()
        self._stop, self._ended, self._next = threading.Event(), False, place
        self._thread = threading.Thread(
            target=self._work, args=(place, self._stop), name="training-input", daemon=True
        )
        self._thread.start()

    def _is_full(self) -> bool:
        return len(self._items) >= self.size or self._ended

    def _work(self, place: Place, stop: threading.Event) -> None:
        try:
            with _side_stream(self.shares.device) as stream:
                while not stop.is_set() and (self.end is None or place.step < self.end):
                    parts = self.shares.parts(place)
                    ready = None if stream is None else stream.record_event()
                    self._put(_Prepared(place, parts, ready), stop)
                    place = self.shares.after(place)
        except BaseException as error:  # raised where the step is taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: _Prepared, stop: threading.Event) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self.size or stop.is_set())
            if not stop.is_set():
                self._items.append(item)
                self._changed.notify_all()


@contextlib.contextmanager
def _side_stream(device: torch.device) -> Iterator[Any]:
    """Run the block's work for a GPU on a stream of its own, yielded; None on other devices."""
    if device.type != "cuda":
        yield None
        return
    stream = torch.cuda.Stream(device)
    # What was written before (the clips) must have arrived.
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield stream


def _await(item: _Prepared, device: torch.device) -> None:
    """Let the device's main stream wait for a prepared item; the host goes on."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(item.ready)
    for batch, draw in item.parts:
        for value in (*vars(batch).values(), *vars(draw).values()):
            if isinstance(value, Tensor) and value.device.type == "cuda":
                value.record_stream(stream)
