"""Metadata of a voice, and the blend of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rvc_colab.errors import VoiceError
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.store.voice import Voice, VoiceMetadata, hash_weights, merge_voices


def voice(weights: dict[str, torch.Tensor], **metadata: object) -> Voice:
    config = SynthesizerConfig.standard(48000, "v2", speakers=len(weights["emb_g.weight"]))
    return Voice(config, weights, VoiceMetadata(**metadata))  # type: ignore[arg-type]


@pytest.fixture
def pair(golden) -> tuple[Voice, Voice, dict[str, torch.Tensor]]:
    """Two voices of the reference and its blend of them; one has three speakers, one five."""
    arrays = np.load(golden / "training" / "e_merge_example.npz")
    parts: dict[str, dict[str, torch.Tensor]] = {"a": {}, "b": {}, "merged_alpha0.3": {}}
    for key in arrays.files:
        which, name = key.split("::")
        parts[which][name] = torch.from_numpy(arrays[key])
    return voice(parts["a"], model_name="A"), voice(parts["b"]), parts["merged_alpha0.3"]


def test_a_blend_is_the_reference_s(pair):
    first, second, expected = pair
    merged = merge_voices(first, second, 0.3)
    assert merged.weights.keys() == expected.keys()
    assert all(torch.equal(merged.weights[key], expected[key]) for key in expected)
    assert merged.config.speakers == 3


def test_a_blend_says_what_it_is_made_of(pair):
    assert merge_voices(pair[0], pair[1], 0.3).metadata.info == "0.3 of A, 0.7 of an unnamed voice"


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(pair, share):
    with pytest.raises(VoiceError, match="from 0 to 1"):
        merge_voices(pair[0], pair[1], share)


def test_voices_of_different_encoders_are_not_blended(pair):
    first = replace(pair[0], metadata=VoiceMetadata(encoder="contentvec"))
    second = replace(pair[1], metadata=VoiceMetadata(encoder="spin"))
    with pytest.raises(VoiceError, match="contentvec and spin"):
        merge_voices(first, second, 0.5)


def test_voices_built_differently_are_not_blended(pair):
    weights = dict(pair[1].weights)
    del weights["dec.conv_post.weight"]
    with pytest.raises(VoiceError, match=r"dec\.conv_post\.weight"):
        merge_voices(pair[0], replace(pair[1], weights=weights), 0.5)


def test_voices_of_different_sizes_are_not_blended(pair):
    weights = {**pair[1].weights, "dec.conv_post.weight": torch.zeros(1, 3, 7)}
    with pytest.raises(VoiceError, match=r"\[1, 2, 7\] and \[1, 3, 7\]"):
        merge_voices(pair[0], replace(pair[1], weights=weights), 0.5)


def test_voices_of_different_rates_are_not_blended(pair):
    other = replace(pair[1], config=SynthesizerConfig.standard(40000, "v2", speakers=5))
    with pytest.raises(VoiceError, match="sample rate: 48000 and 40000"):
        merge_voices(pair[0], other, 0.5)


def test_the_hash_depends_on_values_and_names_not_on_order():
    a, b = torch.ones(3), torch.zeros(2)
    assert hash_weights({"a": a, "b": b}) == hash_weights({"b": b, "a": a})
    assert hash_weights({"a": a, "b": b}) != hash_weights({"a": a, "c": b})
    assert hash_weights({"a": a}) != hash_weights({"a": a * 2})
    assert len(hash_weights({"s": torch.tensor(1.0)})) == 64
