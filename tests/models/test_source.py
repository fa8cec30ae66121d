"""The sine source against the reference and against the plain formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rvc_colab.models.source import HarmonicSource, phase_at_frames

SINE_TOLERANCE = 3.4e-6  # what the reference's own float32 run of 60 s differs by
EXCITATION_TOLERANCE = 2e-6


@pytest.mark.parametrize("name", ["tiny_v1_f0_40k", "tiny_v2_f0_40k", "tiny_v2_f0_32k"])
@torch.no_grad()
def test_excitation_is_the_reference_s(name, golden_voice):
    voice = golden_voice(name)
    f0_hz = voice.io["nsff0"]
    silent = torch.zeros(1, 40 * voice.config.hop, 1)
    excitation = voice.build().dec.m_source(f0_hz, phase_at_frames(f0_hz)[:, :-1], silent)
    assert (excitation[:, 0] - voice.io["source"]).abs().max() <= EXCITATION_TOLERANCE


def test_an_hour_of_sine_does_not_drift():
    frames, hop = 360_000, 400
    f0_hz = torch.full((1, frames), 439.7)
    phase = phase_at_frames(f0_hz)
    last = HarmonicSource(hop).sine(f0_hz[:, -1:], phase[:, -2:-1]).flatten()
    samples = np.arange((frames - 1) * hop, frames * hop) + 1
    step = float(np.float32(439.7)) / 40000
    assert (
        np.abs(last.numpy() - 0.1 * np.sin(2 * math.pi * np.mod(samples * step, 1.0))).max()
        <= SINE_TOLERANCE
    )


def test_unvoiced_frames_carry_noise_only():
    source = HarmonicSource(160)
    f0_hz = torch.zeros(1, 5)
    silent = source(f0_hz, phase_at_frames(f0_hz)[:, :-1], torch.zeros(1, 800, 1))
    loud = source(f0_hz, phase_at_frames(f0_hz)[:, :-1], torch.ones(1, 800, 1))
    assert not silent.any()
    assert torch.allclose(loud, torch.tanh(torch.tensor(0.1 / 3)))


def test_a_new_source_lets_the_sine_through():
    linear = HarmonicSource(160).l_linear
    assert (linear.weight.item(), linear.bias.item()) == (1.0, 0.0)
