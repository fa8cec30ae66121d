"""Spectrograms and mel spectra by the convention with which every public RVC voice was trained.

Letters: B sounds, N samples, F = n_fft // 2 + 1 bins, M mel bands, T = N // hop frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from rvc_colab.config import FRAMES_PER_SECOND
from rvc_colab.errors import ConfigError

# The classic convention. RVC-WebUI 2026 uses 2e-7 and 2e-6, which moves silence by 0.8 nepers
# away from what all pretrained models saw.
POWER_FLOOR = 1e-6
MEL_FLOOR = 1e-5


@dataclass(frozen=True)
class SpectrogramConfig:
    """Sizes of a spectrogram in samples, bands and Hz; `fmax` None means half the sample rate.

    The floors are added to the power and put under the mel; others than the classic ones exist to
    repeat numbers of programs that use them.
    """

    n_fft: int
    hop: int
    win: int
    mels: int
    sample_rate: int
    fmin: float = 0.0
    fmax: float | None = None
    power_floor: float = POWER_FLOOR
    mel_floor: float = MEL_FLOOR

    @property
    def padding(self) -> int:
        """Samples of mirrored sound before and after: (n_fft - hop) // 2."""
        return (self.n_fft - self.hop) // 2

    @property
    def bins(self) -> int:
        """Frequencies per frame: n_fft // 2 + 1."""
        return self.n_fft // 2 + 1


# n_fft = win and mel bands per rate, the same for v1 and v2; the hop is always 10 ms.
# 32k, 40k, 48k: the published configs. 16k is ours (the format allows it, nobody published one):
# 1024 gives bins 15.6 Hz apart and a 64 ms window, near the 40k config's 19.5 Hz and 51 ms, and
# the 513 inputs of the 32k posterior encoder; 80 bands up to 8 kHz are as many as 32k has.
_SIZES = {16000: (1024, 80), 32000: (1024, 80), 40000: (2048, 125), 48000: (2048, 128)}


def spectrogram_config(sample_rate: int, version: str = "v2") -> SpectrogramConfig:
    """Return the spectrogram of a voice's rate (16000, 32000, 40000 or 48000) and version."""
    if sample_rate not in _SIZES:
        known = ", ".join(str(rate) for rate in _SIZES)
        raise ConfigError(
            f"A voice of {sample_rate} Hz has no published configuration.",
            f"Choose one of {known}.",
        )
    if version not in ("v1", "v2"):
        raise ConfigError(f"Version {version!r} is unknown.", "Choose v1 or v2.")
    n_fft, mels = _SIZES[sample_rate]
    return SpectrogramConfig(n_fft, sample_rate // FRAMES_PER_SECOND, n_fft, mels, sample_rate)


def mel_scales(config: SpectrogramConfig, count: int) -> tuple[SpectrogramConfig, ...]:
    """Return the voice's own spectrogram and others of ½, 2 and ¼ of its window, `count` in all.

    The others step by a quarter window. Bands follow the window's resolution, so that none falls
    between two bins.
    """
    others = []
    for factor in (0.5, 2.0, 0.25)[: count - 1]:
        n_fft = int(config.n_fft * factor)
        mels = int(config.mels * min(1.0, factor))
        sizes = {"n_fft": n_fft, "hop": n_fft // 4, "win": n_fft, "mels": mels}
        others.append(replace(config, **sizes))
    return (config, *others)


def linear_spectrogram(wave: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Compute the magnitude spectrogram: wave `[B, N]` → `[B, F, N // hop]`, float32.

    Mirror the ends by (n_fft - hop) / 2, periodic Hann, no centring, sqrt(re² + im² + 1e-6).
    Sound shorter than the mirror is first filled up with zeros.
    """
    wave = wave.float()
    frames = wave.shape[-1] // config.hop
    pad = config.padding
    if wave.shape[-1] <= pad:
        wave = functional.pad(wave, (0, pad + 1 - wave.shape[-1]))
    padded = functional.pad(wave.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
    return magnitudes(padded, config)[..., :frames]


def magnitudes(padded: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Compute the magnitudes of sound `[B, N + 2 · padding]` that is mirrored already, float32."""
    with torch.autocast(padded.device.type, enabled=False):
        spectrum = torch.stft(
            padded.float(),
            config.n_fft,
            hop_length=config.hop,
            win_length=config.win,
            window=_window(config.win, str(padded.device)),
            center=False,
            return_complex=True,
        )
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.sqrt(power + config.power_floor)


def log_mel(spectrogram: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Fold a magnitude spectrogram `[B, F, T]` into log mel `[B, M, T]`: ln(max(mel, 1e-5))."""
    basis = _basis(config, str(spectrogram.device))
    with torch.autocast(spectrogram.device.type, enabled=False):
        mel = torch.matmul(basis, spectrogram.float())
    return torch.log(torch.clamp(mel, min=config.mel_floor))


def log_mel_from_wave(wave: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Compute log mel of wave `[B, N]` → `[B, M, N // hop]`."""
    return log_mel(linear_spectrogram(wave, config), config)


def mel_filterbank(config: SpectrogramConfig, htk: bool = False) -> np.ndarray:
    """Build triangular mel filters `[M, F]` float32, each scaled to unit area over Hz (Slaney).

    The mel scale is Slaney's (linear below 1 kHz, 27 steps per factor 6.4 above), or HTK's
    2595·log10(1 + f/700). Equal to librosa's filters in both cases.
    """
    fmax = config.sample_rate / 2 if config.fmax is None else config.fmax
    to_mel, to_hz = (_hz_to_htk, _htk_to_hz) if htk else (_hz_to_slaney, _slaney_to_hz)
    corners = to_hz(np.linspace(to_mel(config.fmin), to_mel(fmax), config.mels + 2))
    bins = np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)
    slopes = corners[:, None] - bins[None, :]
    width = np.diff(corners)
    rising = -slopes[:-2] / width[:-1, None]
    falling = slopes[2:] / width[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    area = 2.0 / (corners[2:] - corners[:-2])
    return (triangles * area[:, None]).astype(np.float32)


# Slaney's scale (Auditory Toolbox, 1998): 200/3 Hz per mel up to 1 kHz = 15 mel.
_SLANEY_HZ_PER_MEL = 200.0 / 3
_SLANEY_KNEE_HZ, _SLANEY_KNEE_MEL = 1000.0, 15.0
_SLANEY_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_slaney(hz: float) -> float:
    if hz < _SLANEY_KNEE_HZ:
        return hz / _SLANEY_HZ_PER_MEL
    return _SLANEY_KNEE_MEL + float(np.log(hz / _SLANEY_KNEE_HZ)) / _SLANEY_LOG_STEP


def _slaney_to_hz(mel: np.ndarray) -> np.ndarray:
    bent = _SLANEY_KNEE_HZ * np.exp(_SLANEY_LOG_STEP * (mel - _SLANEY_KNEE_MEL))
    return np.where(mel < _SLANEY_KNEE_MEL, mel * _SLANEY_HZ_PER_MEL, bent)


def _hz_to_htk(hz: float) -> float:
    return 2595.0 * float(np.log10(1 + hz / 700.0))


def _htk_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@lru_cache(maxsize=16)
def _window(size: int, device: str) -> torch.Tensor:
    return torch.hann_window(size, device=device)


@lru_cache(maxsize=16)
def _basis(config: SpectrogramConfig, device: str) -> torch.Tensor:
    return torch.from_numpy(mel_filterbank(config)).to(device)
