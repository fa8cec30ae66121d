"""Voices whose pitch is known to the sample: harmonics under moving formants, with pauses."""

from dataclasses import dataclass

import numpy as np

RATE = 16000
HOP = 160
# Formants in Hz of five vowels (Peterson and Barney 1952, men); others are scaled from these.
_VOWELS = [
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
]
_BANDWIDTHS = (80, 100, 140)


@dataclass(frozen=True)
class Sung:
    """A wave at 16 kHz and its true pitch per 10 ms frame (0 = unvoiced or silent)."""

    name: str
    wave: np.ndarray
    f0_hz: np.ndarray


def sing(name, f0_at, seconds=4.0, *, formant_scale=1.0, breath=0.003, seed=0):
    """Sing the pitch curve `f0_at(t)`; every second ends in 0.12 s of hiss and 0.12 s of rest."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    f0 = f0_at(t)
    within = t % 1.0
    voiced = within < 0.76
    hiss = (within >= 0.76) & (within < 0.88)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    formants = _moving_formants(t, formant_scale)
    wave = np.zeros_like(t)
    for k in range(1, int(7600 / f0.min()) + 1):
        audible = k * f0 < 7600
        wave += audible * _gain(k * f0, formants) / k * np.sin(k * phase + 0.7 * k * k)
    wave *= 0.3 / np.abs(wave).max()
    wave = wave * _soften(voiced) + 0.03 * _soften(hiss) * np.diff(rng.standard_normal(len(t) + 1))
    wave += breath * rng.standard_normal(len(t))
    frames = np.arange(len(t) // HOP) * HOP
    truth = np.where(voiced[frames], f0[frames], 0.0)
    return Sung(name, wave.astype(np.float32), truth)


def _moving_formants(t, scale):
    points = np.arange(0, t[-1] + 0.5, 0.25)
    order = np.arange(len(points)) * 2 % len(_VOWELS)
    return [scale * np.interp(t, points, [_VOWELS[i][j] for i in order]) for j in range(3)]


def _gain(hz, formants):
    gain = np.full_like(hz, 0.02)
    for centre, width in zip(formants, _BANDWIDTHS):
        gain += 1 / (1 + ((hz - centre) / width) ** 2)
    return gain


def _soften(gate):
    """Fade over 10 ms so that switching makes no click."""
    kernel = np.hanning(162)[1:-1]
    return np.convolve(gate, kernel / kernel.sum(), mode="same")


def vibrato(centre, cents=50, rate=5.5):
    return lambda t: centre * 2 ** (cents / 1200 * np.sin(2 * np.pi * rate * t))


def glide(start, end, seconds=4.0):
    return lambda t: start * (end / start) ** (t / seconds)


def speech(centre, cents=350):
    """A falling, rising and wandering line like a sentence's."""
    return lambda t: (
        centre
        * 2
        ** (cents / 1200 * (np.sin(2 * np.pi * 0.6 * t) + 0.4 * np.sin(2 * np.pi * 1.7 * t + 1)))
    )


def choir():
    """Low men to a high soprano: 70 to 600 Hz."""
    return [
        sing("bass glide", glide(70, 140), formant_scale=0.95, seed=1),
        sing("man speaking", speech(110), seed=2),
        sing("man vibrato", vibrato(160), seed=3),
        sing("woman speaking", speech(210), formant_scale=1.15, seed=4),
        sing("woman vibrato", vibrato(330, 80), formant_scale=1.15, seed=5),
        sing("woman breathy", vibrato(250), formant_scale=1.15, breath=0.01, seed=6),
        sing("soprano glide", glide(300, 600), formant_scale=1.2, seed=7),
        sing("child speaking", speech(320), formant_scale=1.3, seed=8),
    ]


def cents_off(found, truth):
    """Error in cents on the frames that are voiced in both."""
    both = (found > 0) & (truth > 0)
    return 1200 * np.log2(found[both] / truth[both])


def gross_error_rate(found, truth):
    """Share of the truly voiced, found voiced frames that are more than 50 cents off."""
    return float(np.mean(np.abs(cents_off(found, truth)) > 50))
