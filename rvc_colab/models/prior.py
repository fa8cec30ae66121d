"""The prior encoder (published as `enc_p`): content and pitch → what the latent should be."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.attention import AttentionEncoder
from rvc_colab.models.layers import LEAKY_SLOPE, embedding, sequence_mask

COARSE_PITCHES = 256


class PriorEncoder(nn.Module):
    """Predict mean and log standard deviation of the latent from content and coarse pitch."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.scale = math.sqrt(hidden)
        self.emb_phone = nn.Linear(config.content_channels, hidden)
        if config.has_f0:
            self.emb_pitch = embedding(COARSE_PITCHES, hidden)
        self.encoder = AttentionEncoder(
            hidden,
            config.filter_channels,
            config.heads,
            config.layers,
            config.kernel_size,
            float(config.dropout),
        )
        self.proj = nn.Conv1d(hidden, 2 * config.inter_channels, 1)

    def forward(
        self, content: Tensor, coarse_pitch: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and log-std [B, inter, T] and the mask [B, 1, T] for content [B, T, C].

        `coarse_pitch` is [B, T], whole numbers 1..255, and None for voices without f0.
        """
        x = self.emb_phone(content)
        if coarse_pitch is not None:
            x = x + self.emb_pitch(coarse_pitch)
        x = F.leaky_relu(x * self.scale, LEAKY_SLOPE).transpose(1, 2)  # [B, hidden, T]
        mask = sequence_mask(lengths, x.shape[2], x.dtype)
        mean, log_std = (self.proj(self.encoder(x, mask)) * mask).chunk(2, dim=1)
        return mean, log_std, mask
