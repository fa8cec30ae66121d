"""The whole voice against the reference's numbers, and against itself in other forms."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from rvc_colab.errors import TrainingError
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.synthesizer import (
    InferOptions,
    Synthesizer,
    phase_at_frames,
    prepare_for_inference,
    slice_segments,
)

AUDIO_TOLERANCE = 5e-6  # the reference differs from its own float64 run by 2.9e-6
LATENT_TOLERANCE = 1e-5
TRAINING_TOLERANCE = 1e-6  # rounding: 2.7e-7 without noise, 5.4e-7 with
EXACT_FORM_TOLERANCE = 2e-6  # folded, channels-last, or cut from the whole: rounding only
VOICES = ["tiny_v1_f0_40k", "tiny_v2_f0_40k", "tiny_v2_f0_32k", "tiny_v1_nof0_40k"]
COMBINATIONS = [
    (rate, version, has_f0)
    for rate, version in [
        (16000, "v1"), (32000, "v1"), (32000, "v2"), (40000, "v1"), (40000, "v2"),
        (48000, "v1"), (48000, "v2"),
    ]
    for has_f0 in (True, False)
]  # fmt: skip


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def tiny(rate: int, version: str, has_f0: bool = True) -> SynthesizerConfig:
    config = SynthesizerConfig.standard(rate, version, has_f0, speakers=3)
    return replace(
        config, inter_channels=8, hidden_channels=8, filter_channels=16, layers=2,
        upsample_initial_channels=32, gin_channels=4, spec_channels=33,
    )  # fmt: skip


def random_model(config: SynthesizerConfig, with_posterior: bool = False) -> Synthesizer:
    """A voice in which nothing is trivially identity."""
    torch.manual_seed(7)
    model = Synthesizer(config, with_posterior)
    for name, parameter in model.named_parameters():
        if name.endswith("weight_g"):
            torch.nn.init.constant_(parameter, 1.5 if ".ups." in name else 1.0)
        elif not parameter.any():
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def random_call(config: SynthesizerConfig, frames: int) -> tuple[tuple, InferOptions]:
    generator = torch.Generator().manual_seed(3)
    content = torch.randn(1, frames, config.content_channels, generator=generator)
    f0_hz = 100 + 300 * torch.rand(1, frames, generator=generator)
    f0_hz[:, frames // 3 : frames // 3 + 3] = 0
    pitch = (f0_hz / 5).long().clamp(1, 255)
    noise = InferOptions(
        prior_noise=torch.randn(1, config.inter_channels, frames, generator=generator),
        source_noise=torch.randn(1, frames * config.hop, 1, generator=generator),
    )
    inputs = (content, torch.tensor([frames]), pitch, f0_hz, torch.tensor([1]))
    return (inputs if config.has_f0 else (*inputs[:2], None, None, inputs[4])), noise


@pytest.mark.parametrize("name", VOICES)
def test_sound_is_the_reference_s(name, golden_voice):
    voice = golden_voice(name)
    wave = voice.build().infer(*voice.inputs, voice.silent_noise())
    assert largest_difference(wave, voice.io["audio"]) <= AUDIO_TOLERANCE


@pytest.mark.parametrize("name", VOICES)
def test_fast_form_sounds_like_the_reference(name, golden_voice):
    voice = golden_voice(name)
    wave = prepare_for_inference(voice.build()).infer(*voice.inputs, voice.silent_noise())
    assert largest_difference(wave, voice.io["audio"]) <= AUDIO_TOLERANCE


@pytest.mark.parametrize("name", VOICES)
@torch.no_grad()
def test_prior_and_flow_are_the_reference_s(name, golden_voice):
    voice = golden_voice(name)
    model = voice.build()
    content, lengths, pitch, _, speaker_id = voice.inputs
    m_p, logs_p, mask = model.enc_p(content, pitch, lengths)
    z = model.flow.inverse(voice.io["z_p"], mask, model.emb_g(speaker_id).unsqueeze(-1))
    assert largest_difference(m_p, voice.io["m_p"]) <= LATENT_TOLERANCE
    assert largest_difference(logs_p, voice.io["logs_p"]) <= LATENT_TOLERANCE
    assert torch.equal(mask, voice.io["x_mask"])
    assert largest_difference(z, voice.io["z"]) <= LATENT_TOLERANCE


@torch.no_grad()
def test_noise_enters_where_the_reference_adds_it(golden_voice):
    voice = golden_voice("tiny_v2_f0_40k")
    options = InferOptions(prior_noise=voice.io["noise_prior"], source_noise=voice.io["noise_sine"])
    wave = voice.build().infer(*voice.inputs, options)
    assert largest_difference(wave, voice.io["audio_with_noise"]) <= AUDIO_TOLERANCE


def test_masked_frames_and_other_speaker_are_the_reference_s(golden_voice):
    voice = golden_voice("tiny_v2_f0_40k")
    content, _, pitch, f0_hz, _ = voice.inputs
    inputs = (content, torch.tensor([33]), pitch, f0_hz, torch.tensor([0]))
    wave = voice.build().infer(*inputs, voice.silent_noise())
    assert largest_difference(wave, voice.io["audio_len33_sid0"]) <= AUDIO_TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(
    "key, frames", [("audio_rt_head30_len8", 8), ("audio_rt_head30_len8_len2_9", 9)]
)
def test_a_decoded_cut_is_the_reference_s_real_time_output(key, frames, golden_voice):
    # The reference's real-time call decodes 8 frames without context; with a formant shift it
    # stretches latent and excitation linearly to 9 frames first.
    voice = golden_voice("tiny_v2_f0_40k")
    model, hop = voice.build(), voice.config.hop
    f0_hz = voice.io["nsff0"][:, 30:38]
    excitation = model.dec.m_source(
        f0_hz, phase_at_frames(f0_hz)[:, :-1], torch.zeros(1, 8 * hop, 1)
    )
    latent = voice.io["z"][..., 30:38]
    if frames != 8:
        excitation = torch.nn.functional.interpolate(excitation, frames * hop, mode="linear")
        latent = torch.nn.functional.interpolate(latent, frames, mode="linear")
    wave = model.dec(latent, excitation, voice.io["g"])
    assert largest_difference(wave, voice.io[key]) <= AUDIO_TOLERANCE


@pytest.mark.parametrize("rate, version, has_f0", COMBINATIONS)
def test_every_combination_makes_hop_samples_per_frame_in_every_form(rate, version, has_f0):
    config = tiny(rate, version, has_f0)
    inputs, options = random_call(config, 12)
    model = random_model(config)
    plain = model.infer(*inputs, options)
    assert plain.shape == (1, 1, 12 * rate // 100)
    assert plain.std() > 1e-3
    assert (
        largest_difference(prepare_for_inference(model).infer(*inputs, options), plain)
        <= EXACT_FORM_TOLERANCE
    )


@pytest.mark.parametrize(
    "rate, version", [(16000, "v1"), (40000, "v2"), (48000, "v1"), (48000, "v2")]
)
@pytest.mark.parametrize("keep", [(0, 20), (61, 70), (110, 140)])
def test_kept_frames_are_a_cut_from_the_whole(rate, version, keep):
    config = tiny(rate, version)
    inputs, options = random_call(config, 140)
    model = random_model(config)
    whole = model.infer(*inputs, options)
    cut = model.infer(*inputs, replace(options, keep=keep))
    expected = whole[..., keep[0] * config.hop : keep[1] * config.hop]
    assert largest_difference(cut, expected) <= EXACT_FORM_TOLERANCE


@pytest.mark.parametrize("tile_values", [32 * 70, 32 * 333])
def test_decoding_in_tiles_is_exact(tile_values, monkeypatch):
    config = tiny(40000, "v2")
    inputs, options = random_call(config, 12)
    model = random_model(config)
    whole = model.infer(*inputs, options)
    monkeypatch.setattr("rvc_colab.models.generator.TILE_VALUES", tile_values)
    tiled = prepare_for_inference(model).infer(*inputs, options)
    assert largest_difference(tiled, whole) <= EXACT_FORM_TOLERANCE


def test_frames_beyond_the_context_do_not_matter_and_frames_within_do():
    # Holds the context counts from above and below: one frame less would not be exact.
    config = tiny(40000, "v2")
    model = random_model(config)
    latent = torch.randn(1, 8, 60, generator=torch.Generator().manual_seed(1), requires_grad=True)
    model.dec(latent, torch.zeros(1, 1, 60 * 400), torch.zeros(1, 4, 1))[
        ..., 30 * 400 : 31 * 400
    ].sum().backward()
    touched = latent.grad.abs().amax((0, 1)).nonzero().flatten()
    assert 30 - model.dec.context_frames <= touched.min()
    assert touched.max() <= 30 + model.dec.context_frames
    assert touched.max() - touched.min() >= 2 * (model.dec.context_frames - 2)


def test_a_stretch_continues_the_sine_of_the_one_before():
    config = tiny(40000, "v2")
    model = random_model(config)
    (_, _, _, f0_hz, _), _ = random_call(config, 100)
    f0_hz = f0_hz.clamp_min(120)
    hop, silent = config.hop, torch.zeros(1, 100 * config.hop, 1)
    phase = phase_at_frames(f0_hz)
    whole = model.dec.m_source(f0_hz, phase[:, :-1], silent)
    later = phase_at_frames(f0_hz[:, 40:], phase[:, 40])
    second = model.dec.m_source(f0_hz[:, 40:], later[:, :-1], silent[:, : 60 * hop])
    assert largest_difference(second, whole[..., 40 * hop :]) <= EXACT_FORM_TOLERANCE


def test_start_phase_shifts_the_sound():
    config = tiny(40000, "v2")
    model = random_model(config)
    inputs, options = random_call(config, 12)
    half = replace(options, start_phase=torch.tensor([0.5], dtype=torch.float64))
    assert largest_difference(model.infer(*inputs, options), model.infer(*inputs, half)) > 1e-4


def test_items_of_a_batch_do_not_mix():
    config = tiny(32000, "v2")
    model = random_model(config)
    first, options = random_call(config, 20)
    doubled = tuple(torch.cat((x, x)) for x in first)
    doubled = (torch.cat((first[0], first[0].flip(1))), torch.tensor([20, 13]), *doubled[2:])
    both = InferOptions(
        prior_noise=options.prior_noise.repeat(2, 1, 1),
        source_noise=options.source_noise.repeat(2, 1, 1),
    )
    alone = model.infer(*first, options)
    assert largest_difference(model.infer(*doubled, both)[:1], alone) <= EXACT_FORM_TOLERANCE


def test_training_pass_is_the_reference_s(golden_step):
    model = Synthesizer(golden_step.config)
    model.load_state_dict(golden_step.generator, strict=True)
    out = model(golden_step.batch, golden_step.slice_starts, golden_step.noise)
    recorded = golden_step.recorded
    assert largest_difference(out.wave, recorded["y_hat"]) <= TRAINING_TOLERANCE
    for name in ("z", "z_p", "m_p", "logs_p", "m_q", "logs_q"):
        assert largest_difference(getattr(out, name), recorded[name]) <= LATENT_TOLERANCE, name
    assert torch.equal(out.content_mask, recorded["x_mask"])
    assert torch.equal(out.spec_mask, recorded["z_mask"])


def test_training_draws_slices_inside_each_length(golden_step):
    model = Synthesizer(golden_step.config)
    torch.manual_seed(0)
    starts = torch.stack([model(golden_step.batch).slice_starts for _ in range(12)])
    assert (starts >= 0).all()
    assert (starts + golden_step.config.segment_frames <= golden_step.batch.spec_lengths).all()
    assert starts.unique().numel() > 3


def test_every_parameter_gets_a_gradient(golden_step):
    model = Synthesizer(golden_step.config)
    model.load_state_dict(golden_step.generator, strict=True)
    out = model(golden_step.batch, golden_step.slice_starts, golden_step.noise)
    (
        out.wave.square().sum() + out.z_p.square().sum() + out.m_p.square().sum() + out.logs_p.sum()
    ).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_batch_shorter_than_a_slice_is_refused(golden_step):
    model = Synthesizer(replace(golden_step.config, segment_frames=45))
    with pytest.raises(TrainingError, match="44 frames is shorter than the slice of 45"):
        model(golden_step.batch)


def test_slices_begin_where_they_are_told():
    x = torch.arange(20).view(2, 1, 10)
    cut = slice_segments(x, torch.tensor([2, 7]), 3)
    assert cut[:, 0].tolist() == [[2, 3, 4], [17, 18, 19]]


def test_a_voice_can_be_copied_after_training():
    model = Synthesizer(tiny(40000, "v2"))
    assert copy.deepcopy(model).state_dict().keys() == model.state_dict().keys()
