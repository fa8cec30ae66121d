"""Self-attention with a learnt bias for near neighbours, and the encoder stacked from it.

Relative positions after Shaw et al. 2018 (arXiv 1803.02155), with a window of 10 frames as in VITS.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc_colab.models.layers import ChannelNorm, normal

WINDOW = 10
_MASKED = -1e4  # fits fp16; exp of it is 0 in every precision


class Band:
    """Where the 2W + 1 near neighbours of each frame lie, [T, 2W + 1]; shared by all layers.

    Only this band carries relative terms, so their cost and memory grow with T, not with T².
    """

    def __init__(self, frames: int, device: torch.device) -> None:
        offsets = torch.arange(-WINDOW, WINDOW + 1, device=device)
        columns = torch.arange(frames, device=device)[:, None] + offsets
        self.outside = (columns < 0) | (columns >= frames)
        self.columns = columns.clamp_(0, frames - 1)

    def add_to(self, scores: Tensor, band: Tensor) -> Tensor:
        """Add `band` [B, H, T, 2W + 1] to its places in `scores` [B, H, T, T]."""
        band = band.masked_fill(self.outside, 0.0).to(scores.dtype)
        return scores.scatter_add(-1, self.columns.expand_as(band), band)

    def take_from(self, weights: Tensor) -> Tensor:
        """Read the band of `weights` [B, H, T, T] as [B, H, T, 2W + 1], 0 outside the sound."""
        index = self.columns.expand(*weights.shape[:2], -1, -1)
        return weights.gather(-1, index).masked_fill(self.outside, 0.0)


class RelativeAttention(nn.Module):
    """Multi-head self-attention over [B, C, T]; the heads share one table of relative positions."""

    def __init__(self, channels: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        head = channels // heads
        spread = head**-0.5
        self.emb_rel_k = nn.Parameter(normal(1, 2 * WINDOW + 1, head, spread=spread))
        self.emb_rel_v = nn.Parameter(normal(1, 2 * WINDOW + 1, head, spread=spread))
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor, masked: Tensor, band: Band) -> Tensor:
        """Attend within [B, C, T]; `masked` [B, 1, T, T] is True where a pair is not to be seen."""
        query, key, value = (
            self._split(conv(x)) for conv in (self.conv_q, self.conv_k, self.conv_v)
        )
        query = query / math.sqrt(query.shape[-1])
        scores = query @ key.transpose(-2, -1)  # [B, H, T, T]
        scores = band.add_to(scores, query @ self.emb_rel_k.transpose(-2, -1))
        weights = F.softmax(scores.masked_fill_(masked, _MASKED), dim=-1)
        weights = F.dropout(weights, self.dropout, self.training)
        mixed = weights @ value + band.take_from(weights) @ self.emb_rel_v
        return self.conv_o(mixed.transpose(-2, -1).reshape(x.shape))

    def _split(self, x: Tensor) -> Tensor:
        """[B, C, T] → [B, H, T, C / H]."""
        return x.view(x.shape[0], self.heads, -1, x.shape[2]).transpose(2, 3)


class FeedForward(nn.Module):
    """Two convolutions with a ReLU between them, same length out as in."""

    def __init__(
        self, channels: int, filter_channels: int, kernel_size: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.margins = ((kernel_size - 1) // 2, kernel_size // 2)
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]; `mask` is [B, 1, T]."""
        x = F.relu(self.conv_1(F.pad(x * mask, self.margins)))
        x = F.dropout(x, self.dropout, self.training)
        return self.conv_2(F.pad(x * mask, self.margins)) * mask


class AttentionEncoder(nn.Module):
    """Layers of attention and feed-forward, each added to its input and normalised after."""

    def __init__(
        self,
        channels: int,
        filter_channels: int,
        heads: int,
        layers: int,
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.attn_layers = nn.ModuleList(
            RelativeAttention(channels, heads, dropout) for _ in range(layers)
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, dropout) for _ in range(layers)
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode [B, C, T]; `mask` is [B, 1, T]."""
        masked = (mask.unsqueeze(2) * mask.unsqueeze(-1)) == 0  # [B, 1, T, T]
        band = Band(x.shape[2], x.device)
        x = x * mask
        blocks = zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        )
        for attend, norm_1, feed, norm_2 in blocks:
            x = norm_1(x + F.dropout(attend(x, masked, band), self.dropout, self.training))
            x = norm_2(x + F.dropout(feed(x, mask), self.dropout, self.training))
        return x * mask
