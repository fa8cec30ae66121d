"""The networks of a run: their sizes from the settings, their start, and what they are saved as."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from rvc_colab.audio.spectral import SpectrogramConfig, spectrogram_config
from rvc_colab.config import TRAINING_RATES, TrainingConfig, Version
from rvc_colab.errors import ConfigError
from rvc_colab.features.encoder_names import TINY, canonical_encoder
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.discriminators import DiscriminatorWidths, MultiPeriodDiscriminator
from rvc_colab.models.synthesizer import Synthesizer


@dataclass
class Networks:
    """The pair that plays the game, and the spectrogram both are measured with."""

    generator: Synthesizer
    discriminator: MultiPeriodDiscriminator
    spectrogram: SpectrogramConfig


def synthesizer_config(config: TrainingConfig) -> SynthesizerConfig:
    """Turn the settings into the numbers of a synthesizer; ConfigError for impossible ones."""
    if config.sample_rate not in TRAINING_RATES:
        known = ", ".join(str(rate) for rate in TRAINING_RATES)
        raise ConfigError(
            f"sample_rate = {config.sample_rate} is no rate of a voice.", f"Choose one of {known}."
        )
    if config.speaker >= config.speakers:
        raise ConfigError(
            f"speaker = {config.speaker} lies outside the speaker table of {config.speakers} rows.",
            f"Choose 0 to {config.speakers - 1}, or more --speakers.",
        )
    if config.version is not Version.V1 and canonical_encoder(config.encoder) == TINY:
        raise ConfigError(
            f"The tiny encoder is for v1 voices (256 wide); version = {config.version} hears 768.",
            "Train with --version v1, or with --encoder contentvec.",
        )
    version = str(config.version)
    standard = SynthesizerConfig.standard(
        config.sample_rate, version, config.use_f0, config.speakers
    )
    sized = dataclasses.replace(
        standard,
        spec_channels=spectrogram_config(config.sample_rate, version).bins,
        segment_frames=config.segment_frames or standard.segment_frames,
        inter_channels=config.hidden_channels,
        hidden_channels=config.hidden_channels,
        filter_channels=config.filter_channels,
        layers=config.encoder_layers,
        upsample_initial_channels=config.upsample_initial_channels,
        gin_channels=config.gin_channels,
    )
    sized.validate()
    return sized


def discriminator_widths(scale: float) -> DiscriminatorWidths:
    """Scale the published widths (scale 1) down; every width stays a multiple of 4."""
    full = DiscriminatorWidths()
    if scale == 1:
        return full
    channels = tuple(_scaled(width, scale) for width in full.scale)
    # Published: four channels enter each group. Where that does not divide the next width, the
    # largest number of groups that does.
    groups = tuple(
        math.gcd(before // 4, after) for before, after in zip(channels[:4], channels[1:5])
    )
    return DiscriminatorWidths(
        channels, groups, tuple(_scaled(width, scale) for width in full.period)
    )


def _scaled(width: int, scale: float) -> int:
    return max(4, 4 * round(width * scale / 4))


def build_networks(config: TrainingConfig) -> Networks:
    """Build both networks with seeded random weights, as a run from scratch begins."""
    size = synthesizer_config(config)
    # A fork leaves the caller's generator where it was: building draws nothing from the outside.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generator = Synthesizer(size)
        discriminator = MultiPeriodDiscriminator(
            str(config.version), discriminator_widths(config.discriminator_scale)
        )
    return Networks(
        generator, discriminator, spectrogram_config(config.sample_rate, str(config.version))
    )
