"""The envelope mix over a stream, equal to that over the whole.

Levels stand every half second; a sample needs only the levels around it, so about two seconds of
sound wait for their level at any time.
"""

from __future__ import annotations

import numpy as np

from rvc_colab.audio.filters import apply_envelopes
from rvc_colab.config import CONTENT_RATE


class LevelMeter:
    """Measure the levels of `audio.filters.envelope` on sound that arrives in pieces.

    `levels` has their final number from the start; those not yet known are NaN.
    """

    def __init__(self, rate: int, total: int) -> None:
        self._hop = max(1, rate // 2)
        self._total = total
        self._rest = np.zeros(0, dtype=np.float32)
        self._taken = 0
        self._block = 0
        self._previous = 0.0
        self.levels = np.full(1 + total // self._hop, np.nan)

    def push(self, x: np.ndarray) -> None:
        """Take the next samples; the last piece is known by its position."""
        self._taken += len(x)
        self._rest = np.concatenate([self._rest, x]) if len(self._rest) else x
        while len(self._rest) >= self._hop:
            self._count(self._rest[: self._hop])
            self._rest = self._rest[self._hop :]
        self._rest = self._rest.copy()
        if self._taken >= self._total:
            while self._block < len(self.levels):
                self._count(self._rest)
                self._rest = self._rest[:0]

    def _count(self, block: np.ndarray) -> None:
        wide = block.astype(np.float64)
        energy = float(np.dot(wide, wide))
        if self._block < len(self.levels):
            self.levels[self._block] = np.sqrt((self._previous + energy) / (2 * self._hop))
        self._previous = energy
        self._block += 1

    @property
    def known(self) -> int:
        """How many levels are final."""
        return min(self._block, len(self.levels))


class EnvelopeStream:
    """Give converted sound the level of its source, piece by piece.

    `heard` and `voiced` are the totals in samples at 16 kHz and at `voice_rate`; `mix` as in
    `audio.filters.envelope_mix`.
    """

    def __init__(self, heard: int, voiced: int, voice_rate: int, mix: float) -> None:
        self._mix, self._total = mix, voiced
        self._source = LevelMeter(CONTENT_RATE, heard)
        self._target = LevelMeter(voice_rate, voiced)
        self._waiting = np.zeros(0, dtype=np.float32)
        self._given = 0

    def hear(self, source: np.ndarray) -> None:
        """Take the next samples of the source at 16 kHz."""
        if self._mix < 1:
            self._source.push(source)

    def process(self, target: np.ndarray) -> np.ndarray:
        """Take the next converted samples and return those whose levels are known."""
        if self._mix >= 1:
            return target
        self._target.push(target)
        self._waiting = np.concatenate([self._waiting, target])
        ready = min(self._ready(self._source), self._ready(self._target)) - self._given
        ready = max(0, min(ready, len(self._waiting)))
        mixed = apply_envelopes(
            self._waiting[:ready],
            self._source.levels,
            self._target.levels,
            self._mix,
            first=self._given,
            total=self._total,
        )
        self._waiting = self._waiting[ready:].copy()
        self._given += ready
        return mixed

    def _ready(self, meter: LevelMeter) -> int:
        """Count the samples, from the start, that only need levels which are known."""
        count = len(meter.levels)
        if meter.known >= count:
            return self._total
        # Sample i reads levels around (i + 0.5) · count / total - 0.5.
        return max(0, int((meter.known - 1 + 0.5) * self._total / count - 0.5))
