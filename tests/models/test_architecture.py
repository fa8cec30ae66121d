"""The description of a synthesizer, its published list, and the published full sizes."""

from __future__ import annotations

import pytest
import torch

from rvc_colab.errors import VoiceError
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.discriminators import MultiPeriodDiscriminator
from rvc_colab.models.synthesizer import Synthesizer

# Counted by the reference: parameters of G, of its posterior encoder, of D.
FULL_SIZES = {
    (40000, "v1"): (36360514, 8921472, 54968286),
    (40000, "v2"): (36458818, 8921472, 71410594),
    (48000, "v2"): (37638466, 8921472, 71410594),
    (32000, "v2"): (36880706, 8823168, 71410594),
}


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("rate, version", FULL_SIZES)
def test_full_size_models_have_the_published_number_of_parameters(rate, version):
    with torch.device("meta"):
        model = Synthesizer(SynthesizerConfig.standard(rate, version))
        judges = MultiPeriodDiscriminator(version)
    found = parameters(model), parameters(model.enc_q), parameters(judges)
    assert found == FULL_SIZES[rate, version]


def test_full_size_models_have_the_published_number_of_tensors():
    with torch.device("meta"):
        model = Synthesizer(SynthesizerConfig.standard(40000, "v2"))
        judges = [len(MultiPeriodDiscriminator(version).state_dict()) for version in ("v1", "v2")]
    assert len(model.state_dict()) == 560
    assert judges == [129, 165]


@pytest.mark.parametrize(
    "rate, version, hop",
    [(32000, "v1", 320), (40000, "v1", 400), (48000, "v1", 480), (16000, "v1", 160)],
)
def test_hop_is_ten_milliseconds(rate, version, hop):
    assert SynthesizerConfig.standard(rate, version).hop == hop


def test_the_list_survives_the_round_trip():
    config = SynthesizerConfig.standard(48000, "v2", speakers=3)
    again = SynthesizerConfig.from_list(config.to_list(), "v2")
    assert again.to_list() == config.to_list()
    assert len(config.to_list()) == 18


def test_the_exported_segment_is_the_constant_of_the_format():
    assert SynthesizerConfig.standard(48000, "v2").to_list()[1] == 32


@pytest.mark.parametrize(
    "position, value, words",
    [
        (17, 44100, "44100 Hz needs 441"),
        (9, "2", "Resblock type '2'"),
        (2, "many", "inter_channels"),
        (2, 0, "inter_channels"),
        (2, 2**60, "inter_channels"),
        (12, 10, "upsample_rates"),
        (14, [16, 16, 4], "4 upsampling rates stand beside 3 kernels"),
        (8, None, "dropout"),
        (5, 7, "do not divide by 7 heads"),
        (13, 100, "cannot be halved"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_name(position, value, words):
    values = SynthesizerConfig.standard(40000, "v2").to_list()
    values[position] = value
    with pytest.raises(VoiceError, match=words):
        SynthesizerConfig.from_list(values, "v2")


@pytest.mark.parametrize("values", [None, [], [1] * 17, "config", {"a": 1}])
def test_a_list_of_another_length_is_refused(values):
    with pytest.raises(VoiceError, match="list of 18"):
        SynthesizerConfig.from_list(values)


def test_an_unknown_version_is_refused():
    with pytest.raises(VoiceError, match="'v3' is unknown"):
        SynthesizerConfig.from_list(SynthesizerConfig.standard(40000, "v2").to_list(), "v3")


def test_a_rate_without_a_standard_model_is_refused():
    with pytest.raises(VoiceError, match="44100"):
        SynthesizerConfig.standard(44100)
