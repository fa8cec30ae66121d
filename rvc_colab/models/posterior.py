"""The posterior encoder (published as `enc_q`): a recording's spectrogram → its latent.."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.layers import sequence_mask
from rvc_colab.models.wavenet import WaveNet

_LAYERS = 16
_KERNEL = 5


class PosteriorEncoder(nn.Module):
    """Encode a linear spectrogram into mean and log standard deviation of the latent."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.pre = nn.Conv1d(config.spec_channels, hidden, 1)
        self.enc = WaveNet(hidden, _KERNEL, _LAYERS, config.gin_channels)
        self.proj = nn.Conv1d(hidden, 2 * config.inter_channels, 1)

    def forward(
        self, spec: Tensor, lengths: Tensor, speaker_embedding: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a sample, mean, log-std [B, inter, T] and the mask [B, 1, T] for `spec` [B, F, T].

        `noise` [B, inter, T] is the unit normal draw; None draws it.
        """
        x = self.pre(spec)
        mask = sequence_mask(lengths, spec.shape[2], x.dtype)
        x = self.enc(x * mask, mask, speaker_embedding)
        mean, log_std = (self.proj(x) * mask).chunk(2, dim=1)
        if noise is None:
            noise = torch.randn_like(mean)
        return (mean + noise * torch.exp(log_std)) * mask, mean, log_std, mask
