"""Batches gathered by index arithmetic equal batches put together clip by clip."""

import numpy as np
import torch

from rvc_colab.audio.spectral import SpectrogramConfig, linear_spectrogram
from rvc_colab.features.pitch import coarse_pitch
from rvc_colab.models.synthesizer import SynthesizerConfig
from rvc_colab.training.batches import Clip, ClipStore, draw_for

SIZES = SpectrogramConfig(n_fft=512, hop=160, win=512, mels=40, sample_rate=16000)
SPEC_TOLERANCE = 1e-5


def clip(frames: int, extra: int = 37, seed: int = 0) -> Clip:
    random = np.random.default_rng(seed)
    wave = random.standard_normal(frames * 160 + extra).astype(np.float32)
    content = random.standard_normal((frames // 2, 8)).astype(np.float16)
    f0_hz = np.where(random.random(frames) < 0.7, 200.0 * (1 + random.random(frames)), 0).astype(
        np.float32
    )
    return Clip(wave, content, f0_hz, speaker=seed)


CLIPS = [clip(50, 37, 0), clip(64, 400, 1), clip(34, 0, 2)]
STORE = ClipStore(CLIPS, SIZES)


def test_content_is_repeated_in_time_and_padded_with_zeros() -> None:
    batch = STORE.gather([2, 0], 64)
    wanted = torch.from_numpy(CLIPS[2].content).float().repeat_interleave(2, dim=0)
    assert torch.equal(batch.content[0, :34], wanted) and not batch.content[0, 34:].any()
    assert batch.content_lengths.tolist() == [34, 50]


def test_pitch_and_its_coarse_form_belong_to_the_clip() -> None:
    batch = STORE.gather([0, 1], 64)
    assert batch.f0_hz is not None and batch.coarse_pitch is not None
    assert torch.equal(batch.f0_hz[0, :50], torch.from_numpy(CLIPS[0].f0_hz))
    assert batch.coarse_pitch[1].tolist() == coarse_pitch(CLIPS[1].f0_hz).tolist()
    assert not batch.f0_hz[0, 50:].any() and not batch.coarse_pitch[0, 50:].any()


def test_sound_is_the_clips_own_up_to_its_last_whole_frame() -> None:
    wave = STORE.gather([1, 2], 64).wave
    assert torch.equal(wave[0, 0], torch.from_numpy(CLIPS[1].wave[: 64 * 160]))
    assert not wave[1, 0, 34 * 160 :].any()


def test_the_spectrogram_is_that_of_the_unpadded_clip() -> None:
    batch = STORE.gather([0, 2], 64)
    for row, number in enumerate((0, 2)):
        own = linear_spectrogram(torch.from_numpy(CLIPS[number].wave)[None], SIZES)[0]
        frames = STORE.lengths[number]
        assert (batch.spec[row, :, :frames] - own[:, :frames]).abs().max() < SPEC_TOLERANCE
        assert not batch.spec[row, :, frames:].any()


def test_pitch_that_is_too_short_counts_as_unvoiced() -> None:
    short = Clip(CLIPS[0].wave, CLIPS[0].content, CLIPS[0].f0_hz[:45])
    batch = ClipStore([short], SIZES).gather([0], 64)
    assert batch.f0_hz is not None and not batch.f0_hz[0, 45:].any()
    assert batch.coarse_pitch is not None and batch.coarse_pitch[0, 45:50].tolist() == [1] * 5


def test_batches_have_few_different_lengths() -> None:
    assert STORE.padded_frames([2], 16) == 64 and STORE.padded_frames([2], 80) == 96


def test_slices_lie_inside_their_clips() -> None:
    config = SynthesizerConfig.standard(16000, "v1")
    lengths = torch.tensor([40, 41, 90, 200])
    starts = torch.stack(
        [
            draw_for(lengths, 224, config, torch.Generator().manual_seed(seed)).starts
            for seed in range(50)
        ]
    )
    assert (starts >= 0).all() and (starts + config.segment_frames <= lengths).all()
    assert starts[:, 3].max() > 100
