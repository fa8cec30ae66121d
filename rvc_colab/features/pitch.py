"""Pitch as numbers: Hz to coarse pitch, transposition, gaps, and pitch from a file.

`f0_hz` has one value per 10 ms frame, frame i at i · 10 ms, 0 where unvoiced.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvc_colab.config import F0_MAX_HZ, F0_MIN_HZ, FRAMES_PER_SECOND
from rvc_colab.errors import ConfigError

COARSE_BINS = 255


def _mel(f0_hz: np.ndarray | float) -> np.ndarray:
    """Return the mel scale of the published pitch embedding: 1127 · ln(1 + f / 700)."""
    return np.asarray(1127.0 * np.log1p(np.asarray(f0_hz, dtype=np.float64) / 700.0))


_MEL_MIN, _MEL_MAX = float(_mel(F0_MIN_HZ)), float(_mel(F0_MAX_HZ))


def coarse_pitch(f0_hz: np.ndarray) -> np.ndarray:
    """Turn Hz into the pitch embedding's index: 1 (unvoiced, 50 Hz) to 255 (1100 Hz), int64.

    The one place for this formula: training and conversion must agree to the last bin.
    """
    bins = (_mel(f0_hz) - _MEL_MIN) * (COARSE_BINS - 1) / (_MEL_MAX - _MEL_MIN) + 1
    return np.rint(np.clip(bins, 1, COARSE_BINS)).astype(np.int64)


def transpose(f0_hz: np.ndarray, semitones: float) -> np.ndarray:
    """Shift the pitch by `semitones`; unvoiced frames stay 0."""
    return f0_hz * np.asarray(2.0 ** (semitones / 12.0), dtype=f0_hz.dtype)


def interpolate_unvoiced(f0_hz: np.ndarray) -> np.ndarray:
    """Draw straight lines through unvoiced frames, holding the ends; all-unvoiced stays 0.

    RVC-WebUI 2026 does so for every voice. It voices consonants and leaves `protect` without
    effect, so it is for voices that were trained that way.
    """
    voiced = np.flatnonzero(f0_hz > 0)
    if not len(voiced):
        return f0_hz.copy()
    return np.interp(np.arange(len(f0_hz)), voiced, f0_hz[voiced]).astype(f0_hz.dtype)


def fill_frames(times: np.ndarray, f0_hz: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Read a pitch curve (0 = unvoiced) at other times, in octaves between voiced neighbours.

    Next to an unvoiced point, or across a jump of more than a musical third, the nearer point
    counts: a line there would invent pitches that nobody sang.
    """
    right = np.clip(np.searchsorted(times, at), 1, max(len(times) - 1, 1))
    if len(times) < 2:
        return np.full(len(at), f0_hz[0] if len(times) else 0.0)
    low, high = f0_hz[right - 1], f0_hz[right]
    share = np.clip(
        (at - times[right - 1]) / np.maximum(times[right] - times[right - 1], 1e-9), 0, 1
    )
    nearest = np.where(share < 0.5, low, high)
    safe_low, safe_high = np.maximum(low, 1e-3), np.maximum(high, 1e-3)
    octaves = np.log2(safe_high / safe_low)
    smooth = (low > 0) & (high > 0) & (np.abs(octaves) < _JUMP_OCTAVES)
    return np.where(smooth, safe_low * 2.0 ** (octaves * share), nearest)


_JUMP_OCTAVES = 1.0 / 3.0


@dataclass(frozen=True)
class F0Track:
    """Pitch from a file: rising times in seconds and Hz at each, 0 = unvoiced."""

    times: np.ndarray
    f0_hz: np.ndarray

    def overlay(self, f0_hz: np.ndarray, start_seconds: float = 0.0) -> np.ndarray:
        """Replace the frames between the file's first and last time; others keep their pitch.

        `start_seconds` is the time of frame 0. The file's pitch is final: lay it over after
        transposing, as RVC-WebUI does.
        """
        at = start_seconds + np.arange(len(f0_hz)) / FRAMES_PER_SECOND
        inside = (at >= self.times[0] - 1e-9) & (at <= self.times[-1] + 1e-9)
        replaced = f0_hz.copy()
        replaced[inside] = fill_frames(self.times, self.f0_hz, at[inside])
        return replaced


def read_f0_file(path: str | Path) -> F0Track:
    """Read lines of `seconds,Hz`: comma, semicolon, tab or blank between; a header may lead.

    Raises ConfigError with the line's number for what is no such line, for times that do not rise
    and for pitches that are negative or not numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The f0 file {path} cannot be read: {error}.",
            "Give a text file with lines of seconds,Hz.",
        ) from error
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _f0_row(line)
        if row is None and not rows and number == 1 and re.search(r"[A-Za-z]", line):
            continue
        if complaint := _complaint(row, rows):
            raise ConfigError(
                f"Line {number} of the f0 file {path.name} is {line.strip()[:40]!r}: {complaint}.",
                "Each line is seconds,Hz, for example 0.01,220.5 (0 Hz = unvoiced).",
            )
        rows.append(row)  # type: ignore[arg-type]
    if not rows:
        raise ConfigError(f"The f0 file {path.name} holds no lines.", "Write lines of seconds,Hz.")
    table = np.array(rows, dtype=np.float64)
    return F0Track(table[:, 0], table[:, 1])


def _f0_row(line: str) -> tuple[float, float] | None:
    """Read one line; None when it is not two numbers."""
    fields = [field for field in re.split(r"[,;\s]+", line.strip()) if field]
    try:
        seconds, hz = (float(field) for field in fields)
    except ValueError:
        return None
    return seconds, hz


def _complaint(row: tuple[float, float] | None, before: list[tuple[float, float]]) -> str:
    if row is None:
        return "it is not two numbers"
    seconds, hz = row
    if not math.isfinite(seconds) or seconds < 0:
        return "the time is not a number of seconds from 0"
    if not math.isfinite(hz) or hz < 0:
        return "the pitch is not a number of Hz from 0"
    if before and seconds <= before[-1][0]:
        return f"the time does not rise above {before[-1][0]:g}"
    return ""
