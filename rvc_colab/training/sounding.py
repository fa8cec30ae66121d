"""Figures of one recording: level, clipping, noise, pauses, pitch, bandwidth, timbre."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rvc_colab.audio.filters import resample
from rvc_colab.config import CONTENT_RATE

RECIPE = 1  # raise it when the figures of the same recording would come out differently
FRAME_SECONDS = 0.02
SEGMENT_SECONDS = 4.0
PITCH_SECONDS = 120.0  # of a recording, from its middle: enough to know its range
_F0_RANGE = (60.0, 600.0)
_VOICED = 0.5  # least normalized autocorrelation of a voiced frame
_BANDS, _COEFFICIENTS = 24, 12
_FLAT_SAMPLES, _FLAT_SHARE = 4, 0.9995  # as many neighbours at the very top are a clipped peak
_DIGITAL_SILENCE = -90.0  # dBFS
_PAUSE_BELOW = 35.0  # dB under the loud frames
_BAND_FLOOR = 70.0  # dB under the strongest band: nothing is there any more


@dataclass(frozen=True)
class Figures:
    """What was measured: shares 0..1, levels in dBFS, pitch and bandwidth in Hz.

    `snr_db` is None where no pause lets the noise be heard; pitch is None where none was found.
    """

    seconds: float
    sample_rate: int
    peak: float
    clipped: float
    level_db: float
    silence: float
    snr_db: float | None
    f0_low: float | None
    f0_median: float | None
    f0_high: float | None
    bandwidth_hz: float

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Sounding:
    """The figures, the loudness over time at 10 a second, and the timbre of stretches.

    `envelope` [M] in dB; `segments` [S, 13]: twelve cepstral means and log2 of the median pitch.
    """

    figures: Figures
    envelope: np.ndarray
    segments: np.ndarray


def sound_out(wave: np.ndarray, rate: int) -> Sounding:
    """Measure a recording [N] in -1..1."""
    levels = frame_levels(wave, rate)
    loud = float(np.percentile(levels, 90)) if len(levels) else -120.0
    middle = wave[_middle(len(wave), int(PITCH_SECONDS * rate))]
    low = resample(middle, rate, CONTENT_RATE).astype(np.float32) if len(middle) else middle
    f0_hz, spectra = _pitch_and_bands(low)
    voiced = f0_hz[f0_hz > 0]
    pitch: list[float | None] = [None, None, None]
    if len(voiced) >= 25:
        pitch = [float(value) for value in np.percentile(voiced, [5, 50, 95])]
    figures = Figures(
        seconds=len(wave) / rate,
        sample_rate=rate,
        peak=float(np.abs(wave).max(initial=0.0)),
        clipped=clipped_share(wave),
        level_db=loud,
        silence=float((levels < max(loud - _PAUSE_BELOW, -80.0)).mean()) if len(levels) else 1.0,
        snr_db=noise_distance(levels),
        f0_low=pitch[0],
        f0_median=pitch[1],
        f0_high=pitch[2],
        bandwidth_hz=bandwidth(middle, rate),
    )
    return Sounding(figures, _envelope(levels), _segments(f0_hz, spectra))


def frame_levels(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return the level of each 20 ms in dBFS."""
    size = max(1, int(FRAME_SECONDS * rate))
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    return 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)


def clipped_share(wave: np.ndarray) -> float:
    """Return the share of samples in flat tops: neighbours that all lie at the very peak."""
    top = float(np.abs(wave).max(initial=0.0))
    if top < 0.05:
        return 0.0
    flat = np.concatenate(([0], (np.abs(wave) >= _FLAT_SHARE * top).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(flat))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= _FLAT_SAMPLES].sum() / max(1, len(wave)))


def noise_distance(levels: np.ndarray) -> float | None:
    """Return how far the loud frames lie above the noise of the pauses, in dB.

    None where the quiet frames are no pauses (they lie close to the loud ones because the voice
    never rests) or hold digital silence.
    """
    heard = levels[levels > _DIGITAL_SILENCE]
    if len(heard) < 50:
        return None
    floor, loud = np.percentile(heard, [5, 90])
    gated = len(levels) - len(heard) > 0.02 * len(levels)
    return None if gated else float(loud - floor)


def bandwidth(wave: np.ndarray, rate: int) -> float:
    """Return the frequency in Hz above which the loud parts hold nothing."""
    size = 2048
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    if not len(frames):
        return 0.0
    energy = np.square(frames).mean(axis=1)
    loudest = frames[np.argsort(energy)[-200:]] * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(loudest))).mean(axis=0)
    smooth = np.convolve(power, np.ones(9) / 9, mode="same")
    above = np.flatnonzero(smooth > smooth.max() * 10 ** (-_BAND_FLOOR / 10))
    return float((above[-1] if len(above) else 0) * rate / size)


def _middle(length: int, wanted: int) -> slice:
    first = max(0, (length - wanted) // 2)
    return slice(first, first + wanted)


def _envelope(levels: np.ndarray) -> np.ndarray:
    whole = levels[: len(levels) // 5 * 5].reshape(-1, 5)
    means = whole.mean(axis=1)
    return np.maximum(means, means.max(initial=-120.0) - _PAUSE_BELOW).astype(np.float32)


def _pitch_and_bands(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pitch [T] in Hz (0 = unvoiced) by autocorrelation, and log mel bands [T, 24]."""
    size, hop = 640, int(FRAME_SECONDS * CONTENT_RATE)
    if len(wave) < size:
        return np.zeros(0), np.zeros((0, _BANDS))
    starts = np.arange(0, len(wave) - size + 1, hop)
    first, last = (int(CONTENT_RATE / hz) for hz in reversed(_F0_RANGE))
    basis, pitch, bands = _filters(1024), [], []
    for begin in range(0, len(starts), 512):
        rows = starts[begin : begin + 512, None] + np.arange(size)
        frames = (wave[rows] - wave[rows].mean(axis=1, keepdims=True)) * np.hanning(size)
        power = np.square(np.abs(np.fft.rfft(frames, 2048)))
        lags = np.fft.irfft(power)[:, : last + 1]
        # A window's own autocorrelation falls with the lag: taken out, so that high and low
        # pitch compare.
        lags = lags / (lags[:, :1] + 1e-9) / _window_lags(size, last + 1)
        best = _first_peaks(lags, first)
        sure = lags[np.arange(len(lags)), best] > _VOICED
        loud = power.sum(axis=1) > 1e-3
        pitch.append(np.where(sure & loud, CONTENT_RATE / best, 0.0))
        bands.append(np.log(power[:, ::2][:, : basis.shape[1]] @ basis.T + 1e-6))
    return np.concatenate(pitch), np.concatenate(bands)


def _first_peaks(lags: np.ndarray, first: int) -> np.ndarray:
    """Return the shortest lag nearly as good as the best: two periods fit as well as one."""
    inner = lags[:, first:-1]
    peak = (inner >= lags[:, first - 1 : -2]) & (inner >= lags[:, first + 1 :])
    near = peak & (inner >= 0.9 * inner.max(axis=1, keepdims=True))
    return first + np.where(near.any(axis=1), near.argmax(axis=1), inner.argmax(axis=1))


def _window_lags(size: int, count: int) -> np.ndarray:
    power = np.square(np.abs(np.fft.rfft(np.hanning(size), 2048)))
    lags = np.fft.irfft(power)[:count]
    return np.maximum(lags / lags[0], 0.05)


def _filters(size: int) -> np.ndarray:
    """Return triangles on the mel scale [24, bins], 100 to 7600 Hz."""
    mel = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 7600 / 700), _BANDS + 2)
    hz = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / CONTENT_RATE)
    rise = (bins - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    fall = (hz[2:, None] - bins) / (hz[2:] - hz[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall))


def _segments(f0_hz: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """Average the timbre of the voiced frames of each few seconds; too little voice is left out."""
    per = int(SEGMENT_SECONDS / FRAME_SECONDS)
    order = np.arange(1, _COEFFICIENTS + 1)[:, None]
    cosine = np.cos(np.pi / _BANDS * (np.arange(_BANDS) + 0.5) * order)
    made = []
    for begin in range(0, len(f0_hz), per):
        hz, part = f0_hz[begin : begin + per], bands[begin : begin + per]
        if (hz > 0).sum() >= per // 6:
            cepstrum = cosine @ part[hz > 0].mean(axis=0) / _BANDS
            made.append([*cepstrum, np.log2(np.median(hz[hz > 0]))])
    return np.asarray(made, dtype=np.float32).reshape(-1, _COEFFICIENTS + 1)
