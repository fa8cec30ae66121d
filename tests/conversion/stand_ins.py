"""Stand-ins for the networks, so simple that one knows what must come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from rvc_colab.config import ConversionConfig
from rvc_colab.conversion.converter import Converter
from rvc_colab.conversion.pipeline import Networks
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.synthesizer import InferOptions

HALF_HOP = 160


class RawEncoder:
    """Content is the sound itself: frame i = samples 320 i .. 320 i + 320."""

    name = "raw"

    def width(self, version: str) -> int:
        return 2 * HALF_HOP

    def encode(self, wave: torch.Tensor, version: str) -> torch.Tensor:
        frames = (len(wave) - 80) // 320
        return wave[: frames * 320].reshape(frames, 320)


class IdentityVoice:
    """Speaks the content as it is, at any rate: each 16 kHz sample held or skipped to the rate."""

    def __init__(self, sample_rate: int = 16000) -> None:
        standard = SynthesizerConfig.standard(16000, "v1", has_f0=False, speakers=2)
        rates = {
            16000: (10, 4, 2, 2),
            32000: (10, 8, 2, 2),
            40000: (10, 10, 2, 2),
            48000: (12, 10, 2, 2),
        }
        self.config = replace(standard, sample_rate=sample_rate, upsample_rates=rates[sample_rate])
        self.keeps: list[tuple[int, int]] = []

    def infer(
        self,
        content: torch.Tensor,
        lengths: torch.Tensor,
        coarse_pitch: torch.Tensor | None,
        f0_hz: torch.Tensor | None,
        speaker_id: torch.Tensor,
        options: InferOptions,
    ) -> torch.Tensor:
        hop = self.config.hop
        odd = torch.arange(content.shape[1]) % 2 == 1
        halves = torch.where(odd[:, None], content[0, :, HALF_HOP:], content[0, :, :HALF_HOP])
        at = torch.arange(hop) * HALF_HOP // hop
        first, last = options.keep
        self.keeps.append((first, last))
        return halves[first:last, at].reshape(1, 1, -1)


class LoudnessPitch:
    """Pitch from the level of each frame alone, so that it does not depend on the chunk."""

    name = "loudness"

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        frames = len(wave) // 160
        level = np.abs(wave[: frames * 160].reshape(frames, 160)).mean(1)
        return np.where(level > 0.01, 120 + 800 * level, 0).astype(np.float32)


def identity_converter(sample_rate: int = 16000) -> Converter:
    """A converter that returns what it heard."""
    device = torch.device("cpu")
    return Converter(Networks(IdentityVoice(sample_rate), RawEncoder(), None, None, device))


PLAIN = ConversionConfig(envelope_mix=1, seed=0)


def speech_like(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Bursts of noise and tone with pauses, peak about 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    gate = np.clip(np.sin(2 * np.pi * 0.9 * t) * 3, 0, 1)
    tone = np.sin(2 * np.pi * (180 + 30 * np.sin(2 * np.pi * 0.3 * t)) * t)
    return (gate * (0.35 * tone + 0.05 * rng.standard_normal(len(t)))).astype(np.float32)
