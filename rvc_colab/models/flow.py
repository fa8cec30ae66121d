"""The flow (published as `flow`): an invertible map between a voice's latent and the prior's space.

Affine couplings that only shift (mean-only), after Glow/VITS; every second one sees the other half
because the channels are flipped in between. The log determinant is therefore 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.wavenet import WaveNet

COUPLINGS = 4
_LAYERS = 3
_KERNEL = 5


class Flip(nn.Module):
    """Reverse the order of the channels; its own inverse."""

    def forward(self, x: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Flip the channels of [B, C, T]."""
        return torch.flip(x, (1,))

    inverse = forward


class Coupling(nn.Module):
    """Shift the second half of the channels by what the first half and the speaker say."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.half_channels = config.inter_channels // 2
        hidden = config.hidden_channels
        self.pre = nn.Conv1d(self.half_channels, hidden, 1)
        self.enc = WaveNet(hidden, _KERNEL, _LAYERS, config.gin_channels)
        self.post = nn.Conv1d(hidden, self.half_channels, 1)
        nn.init.zeros_(self.post.weight)
        assert self.post.bias is not None
        nn.init.zeros_(self.post.bias)

    def forward(self, x: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Map the latent [B, inter, T] towards the prior."""
        kept, moved = x.split(self.half_channels, dim=1)
        return torch.cat((kept, self._shift(kept, mask, speaker_embedding) + moved * mask), dim=1)

    def inverse(self, x: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Undo `forward`."""
        kept, moved = x.split(self.half_channels, dim=1)
        return torch.cat((kept, (moved - self._shift(kept, mask, speaker_embedding)) * mask), dim=1)

    def _shift(self, kept: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        return self.post(self.enc(self.pre(kept) * mask, mask, speaker_embedding)) * mask


class Flow(nn.Module):
    """Four couplings with a flip after each."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList()
        for _ in range(COUPLINGS):
            self.flows.extend((Coupling(config), Flip()))
        # A frame depends on this many frames to either side: 4 couplings of 3 layers of 2.
        self.context_frames = COUPLINGS * _LAYERS * (_KERNEL // 2)

    def forward(self, x: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Map the latent [B, inter, T] to the prior's space (training)."""
        for step in self.flows:
            x = step(x, mask, speaker_embedding)
        return x

    def inverse(self, x: Tensor, mask: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Map a sample of the prior [B, inter, T] to the latent (conversion)."""
        for step in reversed(self.flows):
            assert isinstance(step, Coupling | Flip)
            x = step.inverse(x, mask, speaker_embedding)
        return x
