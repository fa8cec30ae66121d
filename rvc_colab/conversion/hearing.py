"""What the networks hear: 16 kHz, without what lies below 48 Hz, in a stream.

The zero-phase filter runs over blocks with real sound around them; after half a second its memory
has fallen below 1e-20, so the blocks equal the filtered whole. On a device the same filter runs as
two convolutions by FFT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from scipy import signal

from rvc_colab.audio.filters import (
    StreamResampler,
    highpass_coefficients,
    highpass_zero_phase,
)
from rvc_colab.config import CONTENT_RATE

Highpass = Callable[[np.ndarray], np.ndarray]

BLOCK_SECONDS = 10
_SETTLE = CONTENT_RATE // 2
_BLOCK = BLOCK_SECONDS * CONTENT_RATE
# exp(-93 · 0.4 s) = 7e-17: the impulse response is over.
_RESPONSE = int(0.4 * CONTENT_RATE)


def hear(
    blocks: Iterator[np.ndarray], rate: int, total: int, highpass: Highpass = highpass_zero_phase
) -> Iterator[np.ndarray]:
    """Turn blocks of mono sound at `rate` into filtered 16 kHz float32 blocks, `total` samples."""
    return filter_stream(_resampled(blocks, rate), total, highpass)


def _resampled(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    resampler = StreamResampler(rate, CONTENT_RATE)
    for block in blocks:
        yield resampler.process(block)
    yield resampler.finish()


def filter_stream(
    blocks: Iterator[np.ndarray], total: int, highpass: Highpass = highpass_zero_phase
) -> Iterator[np.ndarray]:
    """Filter a stream of `total` samples as if it were one piece; float32 blocks of 10 s."""
    held, start, done = np.zeros(0, dtype=np.float32), 0, 0
    while done < total:
        upto = min(done + _BLOCK, total)
        pieces, have = [held], start + len(held)
        while have < min(upto + _SETTLE, total):
            block = next(blocks)
            have += len(block)
            pieces.append(block)
        held = np.concatenate(pieces)
        heard = held[: upto + _SETTLE - start]
        yield highpass(heard)[done - start : upto - start].astype(np.float32)
        done = upto
        held, start = held[max(0, done - _SETTLE - start) :].copy(), max(start, done - _SETTLE)


def device_highpass(device: torch.device | str) -> Highpass:
    """Return the zero-phase high-pass that runs on `device`, equal to the CPU's within 1e-5."""

    def highpass(x: np.ndarray) -> np.ndarray:
        if len(x) == 0:
            return np.zeros(0, dtype=np.float32)
        padding = min(3 * len(_design()[0]), len(x) - 1)
        wave = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device)
        wave = _odd_extension(wave, padding)
        # filtfilt starts either pass as if its first value had stood there for ever.
        once = _causal(wave)
        twice = _causal(once.flip(0)).flip(0)
        return twice[padding : len(twice) - padding].cpu().numpy()

    return highpass


@lru_cache(maxsize=1)
def _design() -> tuple[np.ndarray, np.ndarray]:
    """Return the numerator (for its length) and the impulse response [6400], float64."""
    b, a = highpass_coefficients(CONTENT_RATE)
    impulse = np.zeros(_RESPONSE)
    impulse[0] = 1.0
    return b, signal.lfilter(b, a, impulse)


def _odd_extension(x: torch.Tensor, n: int) -> torch.Tensor:
    if n == 0:
        return x
    head = 2 * x[0] - x[1 : n + 1].flip(0)
    tail = 2 * x[-1] - x[-n - 1 : -1].flip(0)
    return torch.cat([head, x, tail])


def _causal(x: torch.Tensor) -> torch.Tensor:
    """Filter once, forward. A constant past of x[0] passes nothing, so only x - x[0] counts."""
    response = torch.from_numpy(_design()[1]).to(x.device, x.dtype)
    size = len(x) + len(response) - 1
    size = 1 << (size - 1).bit_length()
    spectrum = torch.fft.rfft(x - x[0], size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[: len(x)]
