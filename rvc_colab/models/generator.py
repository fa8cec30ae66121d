"""The generator (published as `dec`): latent and excitation → sound.

HiFi-GAN (arXiv 2010.05646) with a neural source filter (arXiv 1904.12088): the excitation is added
after each upsampling stage.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.layers import (
    LEAKY_SLOPE,
    Conv1d,
    NormedConv1d,
    NormedUpsample,
    recompute,
    use_channels_last,
)
from rvc_colab.models.source import HarmonicSource

TILE_VALUES = 2**19
"""Values of a stretch on a CPU: 2 MB in float32, what a core's second-level cache holds."""

_EDGE_KERNEL = 7
_LAST_SLOPE = 0.01  # kept: the published generator's last activation uses the default slope


class ResidualBlock(nn.Module):
    """Pairs of dilated and plain convolutions, each pair added to its input."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            NormedConv1d(channels, channels, kernel, padding=d * (kernel // 2), dilation=d)
            for d in dilations
        )
        self.convs2 = nn.ModuleList(
            NormedConv1d(channels, channels, kernel, padding=kernel // 2) for _ in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, N] to [B, C, N]; `x` stays as it is."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            inner = dilated(F.leaky_relu(x, LEAKY_SLOPE))
            x = plain(F.leaky_relu_(inner, LEAKY_SLOPE)).add_(x)
        return x


class Generator(nn.Module):
    """Upsample the latent to sound through transposed convolutions and residual blocks.

    In-place steps touch only tensors that no gradient needs: training and inference share one path.
    """

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        initial = config.upsample_initial_channels
        self.channels_last = False
        self.recomputed: frozenset[int] = frozenset()  # stages whose blocks keep nothing
        self.context_frames = _context_frames(config)
        self.kernels = len(config.resblock_kernels)
        self.reach = _block_reach(config)
        widths = [initial // 2 ** (stage + 1) for stage in range(len(config.upsample_rates))]
        if config.has_f0:
            self.m_source = HarmonicSource(config.hop)
            self.noise_convs = nn.ModuleList(
                _source_conv(width, math.prod(config.upsample_rates[stage + 1 :]))
                for stage, width in enumerate(widths)
            )
        self.conv_pre = Conv1d(
            config.inter_channels, initial, _EDGE_KERNEL, padding=_EDGE_KERNEL // 2
        )
        self.ups = nn.ModuleList(
            NormedUpsample(2 * width, width, kernel, rate)
            for width, kernel, rate in zip(
                widths, config.upsample_kernels, config.upsample_rates, strict=True
            )
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, kernel, dilations)
            for width in widths
            for kernel, dilations in zip(
                config.resblock_kernels, config.resblock_dilations, strict=True
            )
        )
        self.conv_post = Conv1d(widths[-1], 1, _EDGE_KERNEL, padding=_EDGE_KERNEL // 2, bias=False)
        self.cond = Conv1d(config.gin_channels, initial, 1)

    def forward(
        self, latent: Tensor, excitation: Tensor | None, speaker_embedding: Tensor
    ) -> Tensor:
        """Return sound [B, 1, N] in -1..1 for the latent [B, inter, T].

        `excitation` is [B, 1, N] from `m_source` (None for voices without f0), `speaker_embedding`
        [B, gin, 1]. Inputs may be of any precision; the weights' precision decides.
        """
        latent, speaker = self._enter(latent), self._enter(speaker_embedding)
        source = None if excitation is None else self._enter(excitation)
        x = self.conv_pre(latent) + self.cond(speaker)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu_(x, LEAKY_SLOPE))
            if source is not None:
                x.add_(self.noise_convs[stage](source))
            if stage in self.recomputed and torch.is_grad_enabled():
                x = recompute(self._mixed_in_tiles, stage, x)
            else:
                x = self._mixed_in_tiles(stage, x)
        wave = torch.tanh(self.conv_post(F.leaky_relu_(x, _LAST_SLOPE)))
        return wave.squeeze(2) if self.channels_last else wave

    def _mixed_in_tiles(self, stage: int, x: Tensor) -> Tensor:
        """Run a stage's blocks on stretches that fit the processor's cache, with what they overlap.

        Only in the fast form on a CPU, where it saves time and most of the memory. Each stretch
        brings the neighbours that its samples depend on: same numbers.
        """
        tile = TILE_VALUES // x.shape[1]
        samples = x.shape[-1]
        if not self.channels_last or x.device.type != "cpu" or samples <= 2 * tile:
            return self._mixed(stage, x)
        mixed = torch.empty_like(x)
        for first in range(0, samples, tile):
            last = min(samples, first + tile)
            begin, end = max(0, first - self.reach), min(samples, last + self.reach)
            stretch = x[..., begin:end].contiguous(memory_format=torch.channels_last)
            mixed[..., first:last] = self._mixed(stage, stretch)[..., first - begin : last - begin]
        return mixed

    def _mixed(self, stage: int, x: Tensor) -> Tensor:
        """Average the residual blocks of one stage, in the published order of additions."""
        blocks = self.resblocks[stage * self.kernels : (stage + 1) * self.kernels]
        total = blocks[0](x)
        for block in blocks[1:]:
            total.add_(block(x))
        return total.div_(self.kernels)

    def _enter(self, x: Tensor) -> Tensor:
        x = x.to(self.conv_pre.weight.dtype)
        if not self.channels_last:
            return x
        return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def to_channels_last(generator: Generator) -> Generator:
    """Turn the generator into its fast inference form, in place, weight norm folded."""
    use_channels_last(generator)
    generator.channels_last = True
    return generator


def _source_conv(channels: int, stride: int) -> Conv1d:
    """Bring the excitation down to a stage's rate; `stride` samples become one."""
    if stride == 1:
        return Conv1d(1, channels, 1)
    return Conv1d(1, channels, 2 * stride, stride=stride, padding=(stride + 1) // 2)


def _block_reach(config: SynthesizerConfig) -> int:
    """Count the samples to either side that a sample behind the residual blocks depends on."""
    blocks = zip(config.resblock_kernels, config.resblock_dilations, strict=True)
    return max((size // 2) * (sum(dilations) + len(dilations)) for size, dilations in blocks)


def _context_frames(config: SynthesizerConfig) -> int:
    """Count the frames to either side that a decoded frame depends on (12 for the 40k models)."""
    reach, rate = _EDGE_KERNEL // 2 + 0.0, 1
    for up, kernel in zip(config.upsample_rates, config.upsample_kernels, strict=True):
        reach += (kernel + up) / (2 * up * rate)
        rate *= up
        reach += _block_reach(config) / rate
    return math.ceil(reach + (_EDGE_KERNEL // 2) / rate)
