"""Random draws by position: the noise of frame 1000 is the same however the sound is cut."""

from __future__ import annotations

import secrets
from typing import Protocol

import numpy as np

_BLOCK_FRAMES = 64
_PRIOR, _SOURCE = 1, 2
# Frames before the file's start (mirrored sound) have negative numbers; seeds cannot.
_OFFSET = 1 << 31


class Noise(Protocol):
    """Where the draws of a conversion come from."""

    def prior(self, first: int, frames: int, channels: int) -> np.ndarray:
        """Return unit normal draws float32 [channels, frames] from absolute frame `first` on."""

    def source(self, first: int, frames: int, hop: int) -> np.ndarray:
        """Return unit normal draws float32 [frames · hop] from absolute frame `first` on."""


class NoiseTape:
    """An endless tape of unit normal draws, made where it is read.

    The same `seed` gives the same tape; without one it is drawn, and kept in `seed`.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = secrets.randbits(32) if seed is None else seed

    def prior(self, first: int, frames: int, channels: int) -> np.ndarray:
        """Return unit normal draws float32 [channels, frames] from absolute frame `first` on."""
        return np.ascontiguousarray(self._read(_PRIOR, first, frames, channels).T)

    def source(self, first: int, frames: int, hop: int) -> np.ndarray:
        """Return unit normal draws float32 [frames · hop] from absolute frame `first` on."""
        return self._read(_SOURCE, first, frames, hop).reshape(-1)

    def _read(self, kind: int, first: int, frames: int, width: int) -> np.ndarray:
        low, high = first // _BLOCK_FRAMES, -(-(first + frames) // _BLOCK_FRAMES)
        blocks = [self._block(kind, number, width) for number in range(low, high)]
        start = first - low * _BLOCK_FRAMES
        return np.concatenate(blocks)[start : start + frames]

    def _block(self, kind: int, number: int, width: int) -> np.ndarray:
        generator = np.random.Generator(np.random.Philox([self.seed, kind, number + _OFFSET]))
        return generator.standard_normal((_BLOCK_FRAMES, width), dtype=np.float32)


class NoNoise:
    """Zeros: the mean of the prior and a source without breath, as the reference's goldens use."""

    seed = None

    def prior(self, first: int, frames: int, channels: int) -> np.ndarray:
        """Return zeros [channels, frames]."""
        return np.zeros((channels, frames), dtype=np.float32)

    def source(self, first: int, frames: int, hop: int) -> np.ndarray:
        """Return zeros [frames · hop]."""
        return np.zeros(frames * hop, dtype=np.float32)
