"""The embedded encoder: HuBERT's frame grid, bounded context, independence of level."""

from __future__ import annotations

import pytest
import torch

from rvc_colab.models.tiny_encoder import (
    CONTENT_CHANNELS,
    PHONES,
    PICTURE,
    SAMPLE_RATE,
    TinyEncoder,
    TinyEncoderConfig,
    content_frames,
    hadamard,
    mel_matrix,
)

SAME_FRAME = 1e-4  # of content with unit variance
SMALL = TinyEncoderConfig(width=32, dilations=(1, 2))


@pytest.fixture(scope="module")
def small() -> TinyEncoder:
    torch.manual_seed(0)
    return TinyEncoder(SMALL).eval()


def sound(seconds: float, seed: int = 0) -> torch.Tensor:
    """Noise whose colour and level wander, as speech's do."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, int(seconds * SAMPLE_RATE), generator=draw)
    swell = 1 + torch.sin(torch.arange(noise.shape[1]) / 1700)
    return 0.05 * (noise + 0.9 * noise.roll(1, 1)) * swell


@pytest.mark.parametrize("samples", [1, 399, 400, 719, 720, 1040, 16000, 16079, 16080])
def test_frame_count_is_huberts(small: TinyEncoder, samples: int) -> None:
    expected = max(1, (samples - 80) // 320)
    with torch.inference_mode():
        content = small(torch.zeros(2, samples))
    assert content.shape == (2, expected, CONTENT_CHANNELS)
    assert content_frames(samples) == expected


def test_shipped_sizes_fit_a_v1_voice_within_the_budget() -> None:
    encoder = TinyEncoder()
    assert CONTENT_CHANNELS == 256
    assert sum(p.numel() for p in encoder.parameters()) <= 3_000_000


def test_a_stretch_with_context_gives_the_frames_of_the_whole(small: TinyEncoder) -> None:
    wave, hop = sound(4.0), 320
    context = -(-small.context_samples // hop)
    first, last = 90, 110
    begin, end = (first - context) * hop, (last + context) * hop + 400
    with torch.inference_mode():
        whole = small(wave)[0, first:last]
        part = small(wave[:, begin:end])[0, context : context + last - first]
    assert (whole - part).abs().max() < SAME_FRAME


def test_sound_outside_the_context_changes_nothing(small: TinyEncoder) -> None:
    wave, frame = sound(4.0), 100
    other = wave.clone()
    reach = small.context_samples
    other[:, : frame * 320 - reach] = 0.9
    other[:, frame * 320 + reach :] = -0.9
    with torch.inference_mode():
        assert (small(wave) - small(other))[0, frame].abs().max() < SAME_FRAME


def test_shipped_context_stays_below_a_second() -> None:
    assert TinyEncoder().context_samples < SAMPLE_RATE


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_level_does_not_matter(small: TinyEncoder, gain: float) -> None:
    wave = sound(1.5)
    with torch.inference_mode():
        assert (small(wave) - small(gain * wave)).abs().max() < SAME_FRAME


def test_silence_gives_finite_content(small: TinyEncoder) -> None:
    with torch.inference_mode():
        assert small(torch.zeros(1, 8000)).isfinite().all()


def test_content_is_the_picture_and_the_spelled_phones(small: TinyEncoder) -> None:
    wave = sound(1.0)
    with torch.inference_mode():
        picture, spelled = small(wave).split(PICTURE, -1)
        drawn, logits = small.heard(small.front(wave))
        told = spelled @ small.codes.T / PICTURE
    assert torch.equal(picture, drawn)
    assert told.shape[-1] == PHONES
    assert (told - logits.softmax(-1)).abs().max() < SAME_FRAME


def test_codes_are_orthogonal() -> None:
    matrix = hadamard(64)
    assert torch.equal(matrix @ matrix.T, 64 * torch.eye(64))


@pytest.mark.parametrize("warp", [0.8, 1.0, 1.25])
def test_mel_filters_peak_in_ascending_order(warp: float) -> None:
    peaks = (mel_matrix(80, warp) * torch.arange(201)).sum(1)
    inside = peaks[peaks > 0]
    assert len(inside) >= 70
    assert (inside.diff() >= 0).all()


def test_gradients_reach_the_first_layer(small: TinyEncoder) -> None:
    small.zero_grad()
    small(sound(0.5)).square().mean().backward()
    small.phone_logits(sound(0.5)).logsumexp(-1).mean().backward()
    assert small.stem.weight.grad is not None
    assert small.stem.weight.grad.abs().sum() > 0


def test_half_precision_weights_hear_the_same(small: TinyEncoder) -> None:
    half = TinyEncoder(SMALL).eval()
    half.load_state_dict(small.state_dict())
    half = half.to(torch.bfloat16)
    with torch.inference_mode():
        difference = half(sound(1.0)).float() - small(sound(1.0))
    assert difference.square().mean().sqrt() < 0.05
