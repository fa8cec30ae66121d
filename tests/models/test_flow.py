"""The flow is invertible, and its steps are the reference's."""

from __future__ import annotations

import torch

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.flow import Flow

ROUND_TRIP_TOLERANCE = 1e-5
STEP_TOLERANCE = 1e-5


@torch.no_grad()
def test_forward_then_inverse_is_the_identity():
    torch.manual_seed(0)
    flow = Flow(SynthesizerConfig.standard(40000, "v2"))
    for coupling in flow.flows[::2]:
        torch.nn.init.normal_(coupling.post.weight, std=0.05)
    x, mask, speaker = torch.randn(1, 192, 30), torch.ones(1, 1, 30), torch.randn(1, 256, 1)
    there = flow(x, mask, speaker)
    assert (there - x).abs().max() > 0.1
    assert (flow.inverse(there, mask, speaker) - x).abs().max() <= ROUND_TRIP_TOLERANCE


@torch.no_grad()
def test_each_step_backwards_is_the_reference_s(golden_voice):
    voice = golden_voice("tiny_v2_f0_40k")
    model = voice.build()
    x = voice.io["z_p"]
    for step, expected in zip(
        reversed(model.flow.flows), voice.io["flow_steps_reverse"], strict=True
    ):
        x = step.inverse(x, voice.io["x_mask"], voice.io["g"])
        assert (x - expected).abs().max() <= STEP_TOLERANCE


def test_context_is_24_frames():
    assert Flow(SynthesizerConfig.standard(40000, "v2")).context_frames == 24
