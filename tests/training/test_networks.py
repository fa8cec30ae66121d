"""Sizes from settings."""

import pytest
import torch

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import ConfigError
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.discriminators import DiscriminatorWidths, MultiPeriodDiscriminator
from rvc_colab.training.networks import build_networks, discriminator_widths, synthesizer_config


@pytest.mark.parametrize("rate", [32000, 40000, 48000])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_without_sizes_the_published_model_is_built(rate: int, version: str) -> None:
    config = TrainingConfig(sample_rate=rate, version=version)
    assert synthesizer_config(config) == SynthesizerConfig.standard(rate, version)


def test_the_posterior_reads_the_spectrogram_of_the_rate() -> None:
    assert (
        synthesizer_config(TrainingConfig(sample_rate=16000)).spec_channels
        == spectrogram_config(16000).bins
    )


def test_the_same_seed_builds_the_same_networks_and_draws_nothing_outside(
    tiny_config: TrainingConfig,
) -> None:
    torch.manual_seed(5)
    first = build_networks(tiny_config).generator.state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    second = build_networks(tiny_config).generator.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_harmonic_source_starts_at_one(tiny_config: TrainingConfig) -> None:
    source = build_networks(tiny_config).generator.dec.m_source.l_linear
    assert (float(source.weight.detach()), float(source.bias.detach())) == (1.0, 0.0)


@pytest.mark.parametrize("scale", [0.01, 0.1, 0.25, 0.3, 0.5, 0.77])
def test_discriminators_of_any_width_can_be_built(scale: float) -> None:
    network = MultiPeriodDiscriminator("v1", discriminator_widths(scale))
    scores, maps = network(torch.zeros(2, 1, 2000))
    assert len(scores) == len(maps) == 7


def test_full_width_is_the_published_one() -> None:
    assert discriminator_widths(1.0) == DiscriminatorWidths()


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_rate": 44100},
        {"speaker": 3, "speakers": 2},
        {"encoder": "tiny", "version": "v2"},
        {"encoder": "Tiny"},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        synthesizer_config(TrainingConfig(**settings))  # type: ignore[arg-type]
