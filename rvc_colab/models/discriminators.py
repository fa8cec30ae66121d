"""The discriminators: one looks at the wave itself, the others fold it by a period into pictures.

HiFi-GAN (arXiv 2010.05646) with one scale discriminator and the periods of the published RVC
models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc_colab.models.layers import LEAKY_SLOPE, NormedConv1d, NormedConv2d, recompute

PERIODS = {"v1": (2, 3, 5, 7, 11, 17), "v2": (2, 3, 5, 7, 11, 17, 23, 37)}


@dataclass(frozen=True)
class DiscriminatorWidths:
    """Channels of the discriminators; the defaults are the published ones."""

    scale: tuple[int, ...] = (16, 64, 256, 1024, 1024, 1024)
    scale_groups: tuple[int, ...] = (4, 16, 64, 256)
    period: tuple[int, ...] = (32, 128, 512, 1024, 1024)


class ScaleDiscriminator(nn.Module):
    """Judge the wave at its own rate with wide grouped convolutions."""

    def __init__(self, widths: DiscriminatorWidths) -> None:
        super().__init__()
        channels = widths.scale
        self.convs = nn.ModuleList([NormedConv1d(1, channels[0], 15, padding=7)])
        for before, after, groups in zip(channels, channels[1:], widths.scale_groups, strict=False):
            self.convs.append(NormedConv1d(before, after, 41, stride=4, padding=20, groups=groups))
        self.convs.append(NormedConv1d(channels[-2], channels[-1], 5, padding=2))
        self.conv_post = NormedConv1d(channels[-1], 1, 3, padding=1)

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return scores [B, n] and the feature maps of every layer for `wave` [B, 1, S]."""
        return _judge(wave, self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Judge every `period`-th sample together: the wave folded into rows of `period` samples."""

    def __init__(self, period: int, widths: DiscriminatorWidths) -> None:
        super().__init__()
        self.period = period
        self.convs = nn.ModuleList()
        before = 1
        for stage, channels in enumerate(widths.period):
            stride = 3 if stage < len(widths.period) - 1 else 1
            self.convs.append(NormedConv2d(before, channels, (5, 1), (stride, 1), padding=(2, 0)))
            before = channels
        self.conv_post = NormedConv2d(before, 1, (3, 1), 1, padding=(1, 0))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return scores [B, n] and the feature maps of every layer for `wave` [B, 1, S]."""
        missing = -wave.shape[-1] % self.period
        if missing:
            wave = F.pad(wave, (0, missing), "reflect")
        return _judge(wave.unflatten(-1, (-1, self.period)), self.convs, self.conv_post)


class MultiPeriodDiscriminator(nn.Module):
    """All discriminators of a version: the scale one first, then one per period."""

    def __init__(self, version: str = "v2", widths: DiscriminatorWidths | None = None) -> None:
        super().__init__()
        widths = widths or DiscriminatorWidths()
        self.recomputed: frozenset[int] = frozenset()  # discriminators that keep nothing
        self.discriminators = nn.ModuleList(
            [
                ScaleDiscriminator(widths),
                *(PeriodDiscriminator(p, widths) for p in PERIODS[version]),
            ]
        )

    def forward(self, waves: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return each discriminator's scores [B, n] and feature maps for `waves` [B, 1, S].

        No layer mixes the items of a batch, so real and generated sound may go through in one pass
        (`torch.cat((real, fake))`) and be told apart by `chunk(2)` of what comes out.
        """
        judged = [
            recompute(judge, waves)
            if number in self.recomputed and torch.is_grad_enabled()
            else judge(waves)
            for number, judge in enumerate(self.discriminators)
        ]
        return [scores for scores, _ in judged], [maps for _, maps in judged]


def _judge(x: Tensor, convs: nn.ModuleList, last: nn.Module) -> tuple[Tensor, list[Tensor]]:
    maps = []
    for conv in convs:
        x = F.leaky_relu_(conv(x), LEAKY_SLOPE)
        maps.append(x)
    x = last(x)
    maps.append(x)
    return torch.flatten(x, 1, -1), maps
