"""Cut recordings into training pieces at their silences, and find quiet points to cut at.

The slicer's rules and numbers are the published ones (RVC-WebUI 4338f12: threshold -42 dB, 1.5 s
at least, silences of 0.4 s, 15 ms hop, 0.5 s of silence kept). Unlike there, every piece gets its
own number, so no tail is overwritten by the next slice, and what is unusable is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# A piece louder than this is damage (the reference's bound); it would be scaled into noise.
PEAK_MAX = 2.5
# Normalisation: 75 % of a copy with peak 0.9, 25 % of the sound as it is.
NORMAL_PEAK, NORMAL_SHARE = 0.9, 0.75
OVERLAP_SECONDS = 0.3
PIECE_SECONDS = 3.7
QUIET_WINDOW_SECONDS = 0.03


@dataclass(frozen=True)
class SlicerConfig:
    """What counts as silence: a level (linear rms) and durations in seconds."""

    threshold: float = 10 ** (-42 / 20)
    min_length: float = 1.5
    min_interval: float = 0.4
    hop: float = 0.015
    max_silence_kept: float = 0.5

    def frames(self, rate: int) -> _Frames:
        """Turn the durations into whole samples and frames at `rate`."""
        hop = round(rate * self.hop)
        interval = rate * self.min_interval
        return _Frames(
            hop=hop,
            min_length=round(rate * self.min_length / hop),
            min_interval=round(interval / hop),
            kept=round(rate * self.max_silence_kept / hop),
        )


@dataclass(frozen=True)
class _Frames:
    hop: int  # samples
    min_length: int  # frames, as the following
    min_interval: int
    kept: int


@dataclass(frozen=True)
class Piece:
    """Samples start..end of a track, as one training piece."""

    start: int
    end: int


def frame_levels(x: np.ndarray, hop: int) -> np.ndarray:
    """Measure rms per frame: four hops of sound centred every `hop`, zeros beyond the ends.

    1 + len(x) // hop values, float64. Sums four blocks per frame instead of taking differences
    of one running sum, which would drown quiet frames in the rounding of loud ones.
    """
    frames = 1 + len(x) // hop
    blocks = np.zeros(frames + 3)
    if len(x):
        starts = np.arange(0, len(x), hop)
        blocks[2 : 2 + len(starts)] = np.add.reduceat(np.square(x, dtype=np.float64), starts)
    energy = blocks[:frames] + blocks[1 : frames + 1]
    energy += blocks[2 : frames + 2] + blocks[3 : frames + 3]
    return np.sqrt(energy / (4 * hop))


def find_slices(
    x: np.ndarray, rate: int, config: SlicerConfig = SlicerConfig()
) -> list[tuple[int, int]]:
    """Find the stretches (start, end in samples) between long silences of a mono track."""
    size = config.frames(rate)
    if -(-len(x) // size.hop) <= size.min_length:
        return [(0, len(x))] if len(x) else []
    levels = frame_levels(x, size.hop)
    cuts = list(_silences_to_cut(levels, config.threshold, size))
    if not cuts:
        return [(0, len(x))]
    total = len(levels)
    begins = [0] + [end for _, end in cuts]
    ends = [start for start, _ in cuts] + [total]
    stretches = [(begin, end) for begin, end in zip(begins, ends)]
    # Only the outer two can be empty; between two cuts a slice has at least one frame.
    if stretches[0][1] <= 0:
        stretches = stretches[1:]
    if stretches[-1][0] >= total:
        stretches = stretches[:-1]
    return [(begin * size.hop, min(end * size.hop, len(x))) for begin, end in stretches]


def _silences_to_cut(
    levels: np.ndarray, threshold: float, size: _Frames
) -> Iterator[tuple[int, int]]:
    """Yield the silences (first, last frame) to take out, in order."""
    slice_start = 0
    for start, end in _quiet_runs(levels < threshold):
        if end == len(levels):
            if end - start >= size.min_interval:
                last = min(end, start + size.kept)
                yield start + int(levels[start : last + 1].argmin()), end + 1
            return
        leading = start == 0 and end > size.kept
        between = end - start >= size.min_interval and end - slice_start >= size.min_length
        if leading or between:
            first, slice_start = _trim(levels, start, end, size.kept)
            yield first, slice_start


def _quiet_runs(quiet: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield each run of quiet frames as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(np.int8), [0]))))
    for start, end in edges.reshape(-1, 2):
        yield int(start), int(end)


def _trim(levels: np.ndarray, start: int, end: int, kept: int) -> tuple[int, int]:
    """Choose what to take out of the silence start..end so that at most `kept` stays each side.

    Cuts go to the quietest frames: one for a short silence, else one near each of its ends.
    """

    def quietest(first: int, last: int) -> int:
        return first + int(levels[first : last + 1].argmin())

    length = end - start
    if length <= kept:
        left = right = quietest(start, end)
    else:
        left, right = quietest(start, start + kept), quietest(end - kept, end)
        if length <= 2 * kept and start > 0:
            middle = quietest(end - kept, start + kept)
            left, right = min(left, middle), max(right, middle)
    return (0 if start == 0 else left), right


def cut_pieces(
    slices: list[tuple[int, int]], rate: int, piece_seconds: float = PIECE_SECONDS
) -> list[Piece]:
    """Cut slices into pieces of `piece_seconds` that overlap by 0.3 s; the last takes the rest.

    The rest is up to piece_seconds + 0.3 s long. The pieces cover every sample of the slices.
    """
    pieces = []
    size = int(piece_seconds * rate)
    for begin, end in slices:
        number = 0
        start = begin
        while end - start > (piece_seconds + OVERLAP_SECONDS) * rate:
            pieces.append(Piece(start, start + size))
            number += 1
            start = begin + int(rate * (piece_seconds - OVERLAP_SECONDS) * number)
        pieces.append(Piece(start, end))
    return pieces


def why_unusable(samples: np.ndarray) -> str:
    """Say why a piece cannot be trained on; empty when it can."""
    if len(samples) == 0:
        return "it holds no samples"
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        return "it holds samples that are not numbers"
    if peak <= 0:
        return "it is silent"
    if peak > PEAK_MAX:
        return f"its peak is {peak:.2f}, above {PEAK_MAX}"
    return ""


def normalize_piece(samples: np.ndarray) -> np.ndarray:
    """Move a usable piece's level towards a peak of 0.9: x / peak · 0.9 · 0.75 + x · 0.25."""
    peak = np.abs(samples).max()
    return samples / peak * (NORMAL_PEAK * NORMAL_SHARE) + (1 - NORMAL_SHARE) * samples


def quiet_point(x: np.ndarray, rate: int, first: int, last: int) -> int:
    """Find the sample in first..last (inclusive) with the least sound within 15 ms around it.

    Of equally quiet ones (digital silence) the nearest to the middle is taken. Costs one
    cumulative sum over the range.
    """
    first, last = max(0, first), min(last, len(x))
    if last <= first:
        return max(0, min(first, len(x)))
    half = max(1, round(rate * QUIET_WINDOW_SECONDS / 2))
    low, high = max(0, first - half), min(len(x), last + half)
    sums = np.concatenate(([0.0], np.cumsum(np.abs(x[low:high]), dtype=np.float64)))
    at = np.arange(first, last + 1)
    begin, end = np.maximum(at - half, low), np.minimum(at + half, high)
    loudness = (sums[end - low] - sums[begin - low]) / (end - begin)
    # Rounding of the cumulative sum is about 1e-16 of its total.
    quietest = at[loudness <= loudness.min() + 1e-13 * (1.0 + sums[-1])]
    return int(quietest[np.abs(quietest - (first + last) // 2).argmin()])
