"""The demo voice's first training, on the content that the encoder aims at."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from recipes import base_voice
from recipes.base_voice import CLIP_FRAMES, BaseRun, aimed_content
from recipes.phones import PHONE_ID
from recipes.reference import phone_codes
from recipes.speech_data import Utterance
from rvc_colab.models.tiny_encoder import CONTENT_CHANNELS, PICTURE
from rvc_colab.store.checkpoint import read_training_checkpoint
from rvc_colab.training.batches import Clip, ClipStore

SMALL = {
    "hidden_channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "upsample_initial_channels": 16,
    "gin_channels": 4,
    "discriminator_scale": 0.02,
    "batch_size": 2,
}


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(int(16000 * seconds)) * 0.05


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ClipStore:
    monkeypatch.setattr(base_voice, "SETTINGS", base_voice.SETTINGS | SMALL)
    clips = []
    for number in range(3):
        content = np.random.default_rng(number).standard_normal((CLIP_FRAMES // 2, 256))
        wave = noise(CLIP_FRAMES / 100, number).astype(np.float32)
        f0_hz = np.full(CLIP_FRAMES, 150.0, np.float32)
        clips.append(Clip(wave, content.astype(np.float16), f0_hz))
    return ClipStore(clips, base_voice.build_networks(config()).spectrogram)


def config() -> base_voice.TrainingConfig:
    return base_voice.TrainingConfig(**base_voice.SETTINGS)


def test_aimed_content_is_the_picture_and_the_spelled_labels() -> None:
    spans = [(0.5, PHONE_ID["s"]), (1.0, PHONE_ID["pau"])]
    spoken = Utterance((noise(1.0) * 32767).astype(np.int16), spans, "x")
    content = aimed_content(spoken)
    assert content.shape == (49, CONTENT_CHANNELS)
    assert np.array_equal(content[5, PICTURE:], phone_codes()[PHONE_ID["s"]])
    assert np.array_equal(content[40, PICTURE:], phone_codes()[PHONE_ID["pau"]])
    assert np.isfinite(content[:, :PICTURE]).all() and content[:, :PICTURE].std() > 0


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_run_that_was_saved_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, store: ClipStore, adversarial: bool
) -> None:
    whole = BaseRun(tmp_path / "whole")
    for _ in range(4):
        straight = whole.advance(store, 0.2, adversarial)
    (tmp_path / "cut").mkdir()
    first = BaseRun(tmp_path / "cut")
    for _ in range(2):
        first.advance(store, 0.2, adversarial)
    first.save()
    second = BaseRun(tmp_path / "cut")
    assert second.step == 2
    for _ in range(2):
        resumed = second.advance(store, 0.2, adversarial)
    assert resumed == straight


def test_the_pair_that_training_starts_from_is_left_beside_the_checkpoint(
    tmp_path: Path, store: ClipStore
) -> None:
    run = BaseRun(tmp_path)
    run.advance(store, 0.0, False)
    run.save()
    for name, player in zip("GD", run.players, strict=True):
        read = read_training_checkpoint(tmp_path / f"base_{name}.pth")
        assert read.kind == {"G": "generator", "D": "discriminator"}[name]
        for key, value in player.network.state_dict().items():
            assert torch.equal(read.weights[key], value)
