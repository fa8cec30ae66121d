"""Gated convolutions with skips and a speaker bias (WaveNet, arXiv 1609.03499, non-causal)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc_colab.models.layers import NormedConv1d


class WaveNet(nn.Module):
    """A stack of gated convolutions [B, C, T] → [B, C, T]; dilation 1 throughout, as published."""

    def __init__(self, channels: int, kernel_size: int, layers: int, gin_channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.context_frames = layers * (kernel_size // 2)
        self.in_layers = nn.ModuleList(
            NormedConv1d(channels, 2 * channels, kernel_size, padding=kernel_size // 2)
            for _ in range(layers)
        )
        # The last layer only skips: its residual would go nowhere.
        widths = [2 * channels] * (layers - 1) + [channels]
        self.res_skip_layers = nn.ModuleList(NormedConv1d(channels, width, 1) for width in widths)
        self.cond_layer = NormedConv1d(gin_channels, 2 * channels * layers, 1)

    def forward(self, x: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Process [B, C, T]; `speaker_embedding` is [B, gin, 1], `mask` [B, 1, T]."""
        biases = self.cond_layer(speaker_embedding).chunk(len(self.in_layers), dim=1)
        skipped: Tensor | None = None
        for bias, gate, split in zip(biases, self.in_layers, self.res_skip_layers, strict=True):
            signal, opening = (gate(x) + bias).chunk(2, dim=1)
            out = split(torch.tanh(signal) * torch.sigmoid(opening))
            skip = out[:, -self.channels :]
            skipped = skip if skipped is None else skipped + skip
            if out.shape[1] > self.channels:
                x = (x + out[:, : self.channels]) * mask
        assert skipped is not None
        return skipped * mask
