"""Cut long sound into chunks, hear each with real sound around it, and join the results.

Cuts lie on a grid of two model frames (20 ms: 320 samples at 16 kHz, two hops of the voice), which
is also the grid of the content encoder; so every position has one meaning at every rate, and
nothing can drift or slip. Only the file's own two ends are padded (mirrored): HuBERT normalises
over all it hears, and padding inside the file would change every frame of the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rvc_colab.audio.filters import resampled_length
from rvc_colab.audio.slicing import quiet_point
from rvc_colab.config import CONTENT_RATE, FRAME_HOP, FRAMES_PER_SECOND

GRID_FRAMES = 2  # one content frame
FADE_FRAMES = 2  # to either side of a cut; equal gain, since both sides are the same sound
# Networks meet lengths rounded up to whole seconds: oneDNN prepares and keeps kernels for every new
# shape, so that memory grew over ever different lengths (1.25 GB at 1 minute, 1.47 GB at 20).
SHAPE_FRAMES = 100
# A cut is sought in the second half of the longest chunk, and leaves the last one a quarter.
_EARLIEST_CUT, _LAST_CHUNK = 0.5, 0.25


@dataclass(frozen=True)
class Timeline:
    """How long one sound is at every rate it passes through; the same instant at all of them.

    `samples` at `rate` come in; `voice_rate` is the voice's, `output_rate` that of the result.
    """

    samples: int
    rate: int
    voice_rate: int
    output_rate: int

    @property
    def heard(self) -> int:
        """Samples at 16 kHz."""
        return resampled_length(self.samples, self.rate, CONTENT_RATE)

    @property
    def voiced(self) -> int:
        """Samples at the voice's rate."""
        return resampled_length(self.samples, self.rate, self.voice_rate)

    @property
    def written(self) -> int:
        """Samples of the result: round(input samples · output rate / input rate)."""
        return resampled_length(self.samples, self.rate, self.output_rate)

    @property
    def hop(self) -> int:
        """Samples at the voice's rate per frame of 10 ms."""
        return self.voice_rate // FRAMES_PER_SECOND

    @property
    def frames(self) -> int:
        """Frames that cover the sound at both rates."""
        return max(-(-self.heard // FRAME_HOP), -(-self.voiced // self.hop))


@dataclass(frozen=True)
class Chunk:
    """Frames first..last (half open) of the whole, and what is heard around them.

    `stretch` float32 16 kHz begins at frame `begin` (negative at the file's start: mirrored).
    """

    index: int
    first: int
    last: int
    begin: int
    stretch: np.ndarray
    is_last: bool

    @property
    def keep(self) -> tuple[int, int]:
        """Frames of the stretch to decode: the chunk and its fades, half open."""
        head = FADE_FRAMES if self.index else 0
        tail = 0 if self.is_last else FADE_FRAMES
        return self.first - head - self.begin, self.last + tail - self.begin

    def decoded(self, frames: int) -> tuple[int, int]:
        """Frames to decode of a stretch of `frames`: those to keep, and more for a known shape."""
        first, last = self.keep
        if self.is_last:
            return first, last
        return first, min(first + rounded_up(last - first), frames)


class _Window:
    """The part of a stream of blocks that is still needed, by absolute sample position."""

    def __init__(self, blocks: Iterator[np.ndarray], total: int) -> None:
        self.total = total
        self._blocks = blocks
        self._held = np.zeros(0, dtype=np.float32)
        self._start = 0

    def fill(self, upto: int) -> None:
        """Read on until sample `upto` (or the end) is there."""
        missing = min(upto, self.total) - self._start - len(self._held)
        pieces = [self._held]
        while missing > 0:
            block = next(self._blocks)
            missing -= len(block)
            pieces.append(block)
        if len(pieces) > 1:
            self._held = np.concatenate(pieces)

    def drop(self, before: int) -> None:
        """Forget what lies before sample `before`."""
        gone = before - self._start
        if gone > 0:
            self._held = self._held[gone:].copy()
            self._start = before

    def mirrored(self, first: int, last: int) -> np.ndarray:
        """Return samples first..last; beyond the ends of the file they are mirrored."""
        low, high = max(0, first), min(self.total, last)
        inner = self._held[low - self._start : high - self._start]
        if low == first and high == last:
            return inner.copy()
        return np.pad(inner, (low - first, last - high), mode="reflect")

    def quietest(self, first: int, last: int) -> int:
        """Return the quietest sample position in first..last."""
        return self._start + quiet_point(
            self._held, CONTENT_RATE, first - self._start, last - self._start
        )


def plan_chunks(
    blocks: Iterator[np.ndarray],
    timeline: Timeline,
    chunk_seconds: float,
    context_seconds: float,
) -> Iterator[Chunk]:
    """Cut a stream of 16 kHz blocks (together `timeline.heard` samples) into chunks.

    Holds one chunk and its context; each chunk is at most `chunk_seconds` long.
    """
    longest = on_grid(chunk_seconds * FRAMES_PER_SECOND)
    context = max(on_grid(context_seconds * FRAMES_PER_SECOND), 4 * FADE_FRAMES)
    window = _Window(blocks, timeline.heard)
    first, index = 0, 0
    while first < timeline.frames:
        window.fill((first + longest + context) * FRAME_HOP)
        remaining = timeline.frames - first
        is_last = remaining <= longest
        last = timeline.frames if is_last else _cut(window, first, longest, remaining)
        begin, end = first - context, on_grid(last + GRID_FRAMES - 1) + context
        if not is_last:
            end = min(begin + rounded_up(end - begin), first + longest + context)
        stretch = window.mirrored(begin * FRAME_HOP, end * FRAME_HOP)
        yield Chunk(index, first, last, begin, stretch, is_last)
        window.drop(max(0, last - context) * FRAME_HOP)
        first, index = last, index + 1


def on_grid(frames: float) -> int:
    """Round frames down to the grid of cuts."""
    return int(frames) // GRID_FRAMES * GRID_FRAMES


def rounded_up(frames: int) -> int:
    """Round a length up to whole seconds."""
    return -(-frames // SHAPE_FRAMES) * SHAPE_FRAMES


def _cut(window: _Window, first: int, longest: int, remaining: int) -> int:
    """Choose the frame at which the chunk that begins at `first` ends: near the quietest sample."""
    earliest = first + longest * _EARLIEST_CUT
    latest = first + min(longest, remaining - longest * _LAST_CHUNK)
    sample = window.quietest(round(earliest * FRAME_HOP), round(latest * FRAME_HOP))
    nearest = round(sample / (GRID_FRAMES * FRAME_HOP)) * GRID_FRAMES
    return min(nearest, on_grid(latest))


class Stitcher:
    """Join decoded chunks by short cross-fades around their cuts.

    Two chunks that agree around the cut join to exactly what both say.
    """

    def __init__(self, hop: int) -> None:
        self._fade = 2 * FADE_FRAMES * hop
        self._tail = np.zeros(0, dtype=np.float32)
        # Ramps meet in the middle of the fade, where the cut is.
        self._rise = ((np.arange(self._fade) + 0.5) / self._fade).astype(np.float32)

    def push(self, chunk: Chunk, wave: np.ndarray) -> np.ndarray:
        """Take the kept frames of the next chunk `[n]`, return the samples that are final."""
        if len(self._tail):
            # tail + rise · (head - tail): exactly the tail where both are equal.
            head = wave[: self._fade]
            faded = self._tail + self._rise * (head - self._tail)
            wave = np.concatenate([faded, wave[self._fade :]])
        if chunk.is_last:
            self._tail = wave[:0]
            return wave
        self._tail = wave[-self._fade :].copy()
        return wave[: -self._fade]
