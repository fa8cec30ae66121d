"""Pitch by RMVPE: mel front end, the network in stretches, and the decoding of its saliences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch.nn import functional

from rvc_colab.audio.spectral import MEL_FLOOR, SpectrogramConfig, mel_filterbank
from rvc_colab.config import CONTENT_RATE, FRAME_HOP
from rvc_colab.errors import AssetError
from rvc_colab.models.rmvpe import E2E, MELS, SALIENCE_BINS, E2EConfig, for_inference

SPECTRUM = SpectrogramConfig(1024, FRAME_HOP, 1024, MELS, CONTENT_RATE, fmin=30.0, fmax=8000.0)
# Bin i stands at 20 · i + 1997.38 cents above 10 Hz (rmvpe.pt's own grid, 31.7 Hz at bin 0).
CENTS_PER_BIN = 20.0
CENTS_OF_BIN_0 = 1997.3794084376191
VOICED_ABOVE = 0.03
_SPREAD_BINS = 4
# Longest stretch through the network at once, and what it hears of its neighbours on each side:
# 20.5 s and 2.6 s, so that memory does not grow with the file. Multiples of the time grid (32).
CHUNK_FRAMES = 2048
CONTEXT_FRAMES = 256


class RmvpeEstimator:
    """Estimate pitch with the published RMVPE weights (a state dict, tensors only)."""

    name = "rmvpe"
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        device: torch.device | str = "cpu",
        f0_range: tuple[float, float] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.f0_range = f0_range
        self.model = for_inference(load_network(weights)).to(self.device)
        basis = mel_filterbank(SPECTRUM, htk=True)
        self._basis = torch.from_numpy(basis).to(self.device)
        self._window = torch.hann_window(SPECTRUM.win, device=self.device)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 in Hz `[N // 160]` of 16 kHz mono, 0 = unvoiced; frame i at i · 10 ms."""
        found = [decode(salience) for salience in self.saliences(wave)]
        f0_hz = np.concatenate([np.zeros(0), *found]).astype(np.float32)
        if self.f0_range:
            f0_hz[(f0_hz < self.f0_range[0]) | (f0_hz > self.f0_range[1])] = 0.0
        return f0_hz

    def saliences(self, wave: np.ndarray) -> Iterator[np.ndarray]:
        """Yield `[frames, 360]` for each stretch of the wave, heard with its neighbourhood."""
        frames = len(wave) // FRAME_HOP
        for first in range(0, frames, CHUNK_FRAMES):
            last = min(first + CHUNK_FRAMES, frames)
            low, high = max(0, first - CONTEXT_FRAMES), min(frames, last + CONTEXT_FRAMES)
            yield self.salience(self.log_mel(wave, low, high))[first - low : last - low]

    def log_mel(self, wave: np.ndarray, first: int, last: int) -> torch.Tensor:
        """Compute frames first..last of the log mel `[128, frames]` of the whole wave.

        Frames are centred at i · 160 with mirrored ends, magnitude, HTK bands 30 to 8000 Hz,
        ln(max(mel, 1e-5)). Only the needed sound is touched.
        """
        half = SPECTRUM.n_fft // 2
        begin, end = first * FRAME_HOP - half, (last - 1) * FRAME_HOP + half
        x = torch.from_numpy(np.asarray(_mirrored(wave, begin, end), dtype=np.float32))
        spectrum = torch.stft(
            x.to(self.device),
            SPECTRUM.n_fft,
            hop_length=FRAME_HOP,
            win_length=SPECTRUM.win,
            window=self._window,
            center=False,
            return_complex=True,
        )
        return torch.log(torch.clamp(self._basis @ spectrum.abs(), min=MEL_FLOOR))

    @torch.inference_mode()
    def salience(self, log_mel: torch.Tensor) -> np.ndarray:
        """Run the network on log mel `[128, T]`: salience `[T, 360]` in 0..1, float32.

        T is filled up with zeros (in the log domain, as published) to a multiple of 32.
        """
        frames = log_mel.shape[-1]
        missing = -frames % self.model.config.time_multiple
        padded = functional.pad(log_mel, (0, missing)).unsqueeze(0)
        return self.model(padded)[0, :frames].float().cpu().numpy()


def load_network(weights: Mapping[str, torch.Tensor]) -> E2E:
    """Build the network that fits a state dict. Raises AssetError for other weights."""
    hint = "Fetch rmvpe.pt again (rvc-colab fetch rmvpe), or choose --f0-method swift."
    weights = weights.get("model", weights)  # type: ignore[assignment]
    try:
        network = E2E(E2EConfig.from_weights(weights))
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        raise AssetError(
            "These weights are not RMVPE's: its U-Net is not in them.", hint
        ) from error
    try:
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except (RuntimeError, AttributeError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise AssetError(
            f"These RMVPE weights do not fit its network: {first[:160]}", hint
        ) from error
    return network


def _mirrored(wave: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Take samples begin..end of the wave continued by its mirror image at both ends."""
    if len(wave) < 2:
        return np.full(end - begin, wave[0] if len(wave) else 0.0, dtype=np.float32)
    if begin >= 0 and end <= len(wave):
        return wave[begin:end]
    period = 2 * (len(wave) - 1)
    at = np.arange(begin, end) % period
    return wave[np.minimum(at, period - at)]


def decode(salience: np.ndarray, voiced_above: float = VOICED_ABOVE) -> np.ndarray:
    """Turn saliences `[T, 360]` into Hz `[T]` float64, 0 where the highest is not above 0.03.

    The pitch is the salience-weighted mean of the 9 bins around the highest one (the lower of
    equals); bins beyond the ends weigh nothing.
    """
    if not len(salience):
        return np.zeros(0)
    peak = salience.argmax(axis=1)
    bins = peak[:, None] + np.arange(-_SPREAD_BINS, _SPREAD_BINS + 1)
    inside = (bins >= 0) & (bins < SALIENCE_BINS)
    near = np.clip(bins, 0, SALIENCE_BINS - 1)
    weights = np.where(inside, np.take_along_axis(salience, near, axis=1), 0).astype(np.float64)
    total = weights.sum(axis=1)
    cents = (weights * (CENTS_PER_BIN * near + CENTS_OF_BIN_0)).sum(axis=1)
    voiced = (salience.max(axis=1) > voiced_above) & (total > 0)
    mean = np.divide(cents, total, out=np.zeros_like(cents), where=voiced)
    return np.where(voiced, 10.0 * 2.0 ** (mean / 1200.0), 0.0)
