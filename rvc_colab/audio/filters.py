"""Filters, rates and levels: one-dimensional arrays in, arrays of a known length out."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import signal

from rvc_colab.config import CONTENT_RATE
from rvc_colab.errors import AudioError

# Kept from the published pipelines: it removes rumble and DC that the encoders never heard.
HIGHPASS_HZ = 48.0
HIGHPASS_ORDER = 5
# The slowest pole of that filter falls by exp(-93 · 0.25 s) = 8e-11: with this much real sound
# before and after a stretch, filtering the stretch equals filtering the whole within 1e-7.
HIGHPASS_SETTLE_SECONDS = 0.25
# Levels are floored here before dividing by them (the reference's constant).
ENVELOPE_FLOOR = 1e-6
PEAK_CEILING = 0.99


@lru_cache(maxsize=16)
def highpass_coefficients(rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Design the 48 Hz Butterworth high-pass of order 5; returns (b, a), 6 values each."""
    b, a = signal.butter(HIGHPASS_ORDER, HIGHPASS_HZ, btype="high", fs=rate)
    return b, a


def highpass_zero_phase(x: np.ndarray, rate: int = CONTENT_RATE) -> np.ndarray:
    """Remove what lies below 48 Hz without delay (forward and backward). Any length; float64 out.

    The odd extension at the ends is 18 samples, or what a shorter input has.
    """
    if len(x) == 0:
        return np.zeros(0, dtype=np.float64)
    b, a = highpass_coefficients(rate)
    padding = min(3 * max(len(a), len(b)), len(x) - 1)
    return signal.filtfilt(b, a, x, padlen=padding)


def highpass_causal(x: np.ndarray, rate: int) -> np.ndarray:
    """Remove what lies below 48 Hz in one forward pass, as the training recipes do. float64 out."""
    b, a = highpass_coefficients(rate)
    return signal.lfilter(b, a, np.asarray(x, dtype=np.float64))


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Count the samples after a change of rate: round(samples · to / from), half up, exact."""
    return (2 * samples * to_rate + from_rate) // (2 * from_rate)


def resample(x: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the sample rate (soxr, high quality), keeping the dtype; `[N]` or `[N, channels]`.

    The length is round(N · to / from), always.
    """
    if from_rate == to_rate:
        return x
    length = resampled_length(len(x), from_rate, to_rate)
    if len(x) == 0 or length == 0:
        return x[:0]
    import soxr

    return _fit(soxr.resample(x, from_rate, to_rate, quality="HQ"), length)


def _fit(y: np.ndarray, length: int) -> np.ndarray:
    """Cut `y`, or repeat its last sample (the tail misses a sample at most), to `length`."""
    if len(y) >= length:
        return y[:length]
    if len(y) == 0:
        return np.zeros((length, *y.shape[1:]), dtype=y.dtype)
    missing = [(0, length - len(y))] + [(0, 0)] * (y.ndim - 1)
    return np.pad(y, missing, mode="edge")


class StreamResampler:
    """Change the sample rate of mono sound that arrives in pieces; memory stays constant.

    All pieces together have exactly round(total · to / from) samples.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate, self.to_rate = from_rate, to_rate
        self._taken = 0
        self._given = 0
        self._stream = None
        if from_rate != to_rate:
            import soxr

            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")

    def process(self, x: np.ndarray) -> np.ndarray:
        """Take the next samples and return what is ready (possibly nothing). float32."""
        x = np.ascontiguousarray(x, dtype=np.float32)
        self._taken += len(x)
        y = x if self._stream is None else self._stream.resample_chunk(x)
        return self._counted(y)

    def finish(self) -> np.ndarray:
        """Return the rest; the stream cannot be used afterwards."""
        if self._stream is None:
            return np.zeros(0, dtype=np.float32)
        y = self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
        missing = resampled_length(self._taken, self.from_rate, self.to_rate) - self._given
        return self._counted(_fit(y, missing))

    def _counted(self, y: np.ndarray) -> np.ndarray:
        most = resampled_length(self._taken, self.from_rate, self.to_rate) - self._given
        y = y[:most]
        self._given += len(y)
        return y


def envelope(x: np.ndarray, rate: int) -> np.ndarray:
    """Measure the level: rms of one-second windows centred every half second, float64.

    1 + len(x) // (rate // 2) values; sound beyond the ends counts as zeros. A window is two
    neighbouring half-second blocks, so each block is squared once.
    """
    hop = max(1, rate // 2)
    blocks = -(-len(x) // hop)
    frames = 1 + len(x) // hop
    energy = np.zeros(frames + 1)
    for i in range(blocks):
        block = np.asarray(x[i * hop : (i + 1) * hop], dtype=np.float64)
        energy[i + 1] = np.dot(block, block)
    return np.sqrt((energy[:-1] + energy[1:]) / (2 * hop))


def stretch_linear(
    values: np.ndarray, length: int, first: int = 0, last: int | None = None
) -> np.ndarray:
    """Interpolate `values` linearly onto `length` points and return points first..last.

    Point i stands at (i + 0.5) · len(values) / length - 0.5, the ends hold (the convention of
    torch's `interpolate(mode="linear", align_corners=False)`).
    """
    last = length if last is None else last
    at = (np.arange(first, last) + 0.5) * (len(values) / max(length, 1)) - 0.5
    return np.interp(at, np.arange(len(values)), values)


def envelope_mix(
    source_16k: np.ndarray, target: np.ndarray, target_rate: int, mix: float
) -> np.ndarray:
    """Give `target` the level of the source (mix 0) or keep its own (mix 1). float32 `[N]`.

    gain = source_level^(1-mix) · target_level^(mix-1), both interpolated to every sample, the
    target's level floored at 1e-6.
    """
    if mix >= 1 or len(target) == 0:
        return target
    return apply_envelopes(
        target, envelope(source_16k, CONTENT_RATE), envelope(target, target_rate), mix
    )


def apply_envelopes(
    target: np.ndarray,
    source_levels: np.ndarray,
    target_levels: np.ndarray,
    mix: float,
    *,
    first: int = 0,
    total: int | None = None,
) -> np.ndarray:
    """Mix known levels into a stretch of the target that begins at sample `first` of `total`.

    For sound that is handled in pieces; the levels are those of the whole (`envelope`).
    """
    total = len(target) if total is None else total
    last = first + len(target)
    source = stretch_linear(source_levels, total, first, last)
    own = np.maximum(stretch_linear(target_levels, total, first, last), ENVELOPE_FLOOR)
    return (target * (source / own) ** (1.0 - mix)).astype(np.float32)


def peak_guard(x: np.ndarray, ceiling: float = PEAK_CEILING) -> np.ndarray:
    """Scale down so that no sample exceeds `ceiling`; quieter sound is returned unchanged."""
    peak = float(np.max(np.abs(x), initial=0.0))
    if not np.isfinite(peak):
        raise AudioError(
            "The sound holds samples that are not numbers (NaN or infinite).",
            "Use 32-bit precision (--precision fp32) or check the input.",
        )
    return x if peak <= ceiling else x * np.asarray(ceiling / peak, dtype=x.dtype)


def to_int16(x: np.ndarray) -> np.ndarray:
    """Round float samples in -1..1 to 16 bits (half to even) and hold them in range."""
    return np.clip(np.rint(np.asarray(x, dtype=np.float64) * 32768.0), -32768, 32767).astype(
        np.int16
    )
