"""A tiny voice and recordings that take a moment to train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training.extract import Extractor
from rvc_colab.workspace import Workspace

RATE = 16000


class StandInEncoder:
    """An encoder of the right shape: the sound's own samples through a fixed random matrix."""

    name = "stand-in"

    def __init__(self) -> None:
        self.matrix = torch.randn(400, 256, generator=torch.Generator().manual_seed(3))

    def width(self, version: str) -> int:
        return 256

    def encode(self, wave: torch.Tensor, version: str) -> torch.Tensor:
        return wave.unfold(-1, 400, 320) @ self.matrix


class StandInPitch:
    """An estimator that always hears 200 Hz."""

    name = "stand-in"

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return np.full(len(wave) // 160, 200.0, dtype=np.float32)


def _tone(seconds: float, hz: float = 200.0, seed: int = 0) -> np.ndarray:
    """A harmonic tone with a little noise, as loud as speech."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = np.sum([np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 6)], axis=0)
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.2 * wave + 0.01 * noise).astype(np.float32)


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
    """Make a harmonic tone: `tone(seconds, hz, seed)` at 16 kHz."""
    return _tone


@pytest.fixture
def tiny_config() -> TrainingConfig:
    """The smallest voice that has every part."""
    return TrainingConfig(
        sample_rate=RATE, version="v1", encoder="tiny", pretrained="none", speakers=1,
        hidden_channels=8, filter_channels=8, encoder_layers=1, upsample_initial_channels=16,
        gin_channels=4, discriminator_scale=0.01, segment_frames=16, batch_size=2,
        slice_seconds=1.0,
        mixed_precision="fp32", device="cpu", max_steps=4, validation_recordings=0,
    )  # fmt: skip


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three short recordings in a folder."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(3):
        soundfile.write(
            folder / f"{number}.wav", _tone(1.5 + number / 4, 180 + 20 * number, number), RATE
        )
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "space")


@pytest.fixture
def extractor() -> Extractor:
    return Extractor.of(StandInEncoder(), "v1", StandInPitch())  # type: ignore[arg-type]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch, extractor: Extractor) -> Extractor:
    """Let the whole journey hear with the stand-ins."""
    monkeypatch.setattr("rvc_colab.training.recipe.open_extractor", lambda config, space: extractor)
    return extractor
