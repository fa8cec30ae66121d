"""The harmonic source of the generator: a sine that follows f0, and noise where there is none.

Neural source-filter (arXiv 1904.12088) with the fundamental only, as every RVC voice has it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SINE_AMPLITUDE = 0.1
VOICED_NOISE = 0.003
UNVOICED_NOISE = SINE_AMPLITUDE / 3


def phase_at_frames(f0_hz: Tensor, start_phase: Tensor | None = None) -> Tensor:
    """Return the sine's phase in cycles at the start of each of the T frames and after the last.

    `f0_hz` is [B, T] at 100 frames per second; the result is float64 [B, T + 1], wrapped to 0..1.
    `start_phase` [B] is the phase at frame 0; entry T of one stretch starts the next one.
    """
    cycles = (f0_hz.double() / 100).remainder_(1.0)  # a frame lasts 10 ms
    first = torch.zeros_like(cycles[:, 0]) if start_phase is None else start_phase.to(cycles)
    return torch.cat((first[:, None], cycles), dim=1).cumsum(1).remainder_(1.0)


class HarmonicSource(nn.Module):
    """Turn f0 into the excitation signal (published as `m_source`)."""

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.l_linear = nn.Linear(1, 1)
        # One scalar scales the whole sine. From a random start it can drift to zero and leave the
        # voice without pitch while the mel loss still falls; training from scratch starts at 1.
        nn.init.ones_(self.l_linear.weight)
        nn.init.zeros_(self.l_linear.bias)

    def sine(self, f0_hz: Tensor, phase: Tensor) -> Tensor:
        """Return the sine [B, T, hop] for f0 [B, T] that stands at `phase` [B, T] cycles.

        Within a frame f0 is constant and sample k of it lies (k + 1) steps after the frame's
        start: the sum over samples is inclusive (published models). Only T phases are summed, in
        float64; the samples follow by multiplication, so nothing drifts over an hour.
        """
        steps = torch.arange(1, self.hop + 1, device=f0_hz.device, dtype=torch.float64) / (
            100 * self.hop
        )
        cycles = torch.addcmul(phase[..., None], f0_hz.double()[..., None], steps).remainder_(1.0)
        return torch.sin(cycles.float() * (2 * math.pi)).mul_(SINE_AMPLITUDE)

    def forward(self, f0_hz: Tensor, phase: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the excitation [B, 1, N] for f0 [B, T] in Hz, 0 where unvoiced.

        `phase` [B, T] in cycles comes from `phase_at_frames`; `noise` [B, N, 1] is unit normal.
        Always float32, whatever precision the generator runs in.
        """
        voiced = (f0_hz > 0).float()[..., None]  # [B, T, 1]
        sine = self.sine(f0_hz, phase)
        noise = torch.randn_like(sine) if noise is None else noise.float().view_as(sine)
        level = voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE
        excitation = (sine * voiced + level * noise).flatten(1)
        # l_linear is one weight and one bias: written out, it stays float32 under autocast.
        scale, offset = self.l_linear.weight.float().reshape(()), self.l_linear.bias.float()
        return torch.tanh(excitation * scale + offset).unsqueeze(1)
