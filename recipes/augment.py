"""Disguises for speech that leave words and timing alone: other speakers, channels, noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rvc_colab.models.tiny_encoder import FrontEnd, mel_matrix

WARPS = 64  # speakers' mel matrices made in advance
BINS = 201
NOISE_SECONDS = 60
TAIL_SAMPLES = 8000  # of a room: half a second


class Augmenter:
    """Turn waves [B, N] into levelled log-mel of the same words in disguise.

    Pitch and formants move together (mel filters moved along frequency, after Jaitly and Hinton
    2013), so that frames stay aligned with the labels and with another disguise of the same crop.
    """

    def __init__(self, front: FrontEnd, rng: np.random.Generator) -> None:
        self._front, self._rng = front, rng
        mels = front.mel.shape[0]
        self._matrices = torch.stack(
            [
                mel_matrix(mels, 2 ** rng.uniform(-0.36, 0.36), rng.uniform(-0.12, 0.12))
                for _ in range(WARPS)
            ]
        )
        self._noises = [_coloured(rng, slope) for slope in (0.0, -0.5, -1.0, 0.3)]
        self._curves = torch.from_numpy(_smooth_curves()).float()

    def __call__(self, waves: Tensor) -> Tensor:
        waves = self._with_noise(self._in_rooms(waves)) * self._column(
            10 ** self._uniform(len(waves), -1.2, 0.3)
        )
        power = self._front.power(waves) * self._equaliser(len(waves))[:, :, None]
        chosen = torch.from_numpy(self._rng.integers(0, WARPS, len(waves)))
        features = self._front.features(power, self._matrices[chosen])
        return self._with_holes(features)

    def _in_rooms(self, waves: Tensor) -> Tensor:
        """Let a quarter of the rows sound in a room: direct sound and a decaying tail of noise."""
        rows = np.flatnonzero(self._rng.random(len(waves)) < 0.25)
        if not len(rows):
            return waves
        seconds = np.arange(TAIL_SAMPLES) / 16000
        decays = 6.9 / self._rng.uniform(0.1, 0.5, (len(rows), 1))  # 60 dB in so many seconds
        tails = self._rng.standard_normal((len(rows), TAIL_SAMPLES)) * np.exp(-decays * seconds)
        tails /= np.linalg.norm(tails, axis=1, keepdims=True)
        tails *= 10 ** (self._rng.uniform(-20, -2, (len(rows), 1)) / 20)  # against the direct sound
        tails[:, 0] = 1.0
        size = waves.shape[1] + TAIL_SAMPLES
        spectra = torch.fft.rfft(waves[rows], size)
        spectra *= torch.fft.rfft(torch.from_numpy(tails.astype(np.float32)), size)
        placed = waves.clone()
        placed[rows] = torch.fft.irfft(spectra, size)[:, : waves.shape[1]]
        return placed

    def _with_noise(self, waves: Tensor) -> Tensor:
        noisy = waves.clone()
        for row in range(len(waves)):
            draw = self._rng.random()
            if draw > 0.7:
                continue
            if draw > 0.55:  # another speaker far behind
                noise = waves[self._rng.integers(len(waves))].flip(0)
                ratio_db = self._rng.uniform(15, 30)
            else:
                source = self._noises[self._rng.integers(len(self._noises))]
                start = self._rng.integers(0, len(source) - waves.shape[1])
                noise = source[start : start + waves.shape[1]]
                ratio_db = self._rng.uniform(8, 45)
            loud = waves[row].square().mean().sqrt() / noise.square().mean().sqrt().clamp(min=1e-4)
            noisy[row] += noise * loud * 10 ** (-ratio_db / 20)
        return noisy

    def _equaliser(self, count: int) -> Tensor:
        """Return power gains [B, 201]: a random smooth curve, sometimes with a band's end."""
        amounts = torch.from_numpy(self._rng.normal(0, 3.0, (count, len(self._curves)))).float()
        gains = 10 ** (amounts @ self._curves / 10)
        for row in range(count):
            if self._rng.random() < 0.12:
                gains[row, self._rng.integers(90, BINS) :] *= 1e-4
            if self._rng.random() < 0.1:
                gains[row, : self._rng.integers(2, 8)] *= 1e-3
        return gains

    def _with_holes(self, features: Tensor) -> Tensor:
        """Blank a few bands in a third of the rows (Park et al. 2019, frequency only)."""
        for row in range(len(features)):
            if self._rng.random() < 0.33:
                width = int(self._rng.integers(2, 10))
                first = int(self._rng.integers(0, features.shape[1] - width))
                features[row, first : first + width] = features[row].mean()
        return features

    def _uniform(self, count: int, low: float, high: float) -> np.ndarray:
        return self._rng.uniform(low, high, count)

    @staticmethod
    def _column(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float()[:, None]


def _coloured(rng: np.random.Generator, slope: float) -> Tensor:
    """Return noise whose amplitude falls as frequency ** slope."""
    spectrum = np.fft.rfft(rng.standard_normal(NOISE_SECONDS * 16000))
    spectrum[1:] *= np.arange(1, len(spectrum), dtype=float) ** slope
    noise = np.fft.irfft(spectrum)
    return torch.from_numpy((noise / noise.std()).astype(np.float32))


def _smooth_curves() -> np.ndarray:
    """Return cosine shapes [5, 201] over mel-like frequency, in dB for one unit."""
    place = np.log1p(np.arange(BINS) * 40 / 700)
    place /= place[-1]
    return np.stack([np.cos(np.pi * order * place) for order in range(1, 6)])
