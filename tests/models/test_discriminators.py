"""The discriminators against the reference's outputs."""

from __future__ import annotations

import pytest
import torch

from rvc_colab.models.discriminators import DiscriminatorWidths, MultiPeriodDiscriminator
from rvc_colab.models.synthesizer import slice_segments

TOLERANCE = 1e-5
TINY = DiscriminatorWidths(
    scale=(2, 4, 8, 16, 16, 16), scale_groups=(2, 4, 8, 16), period=(4, 8, 12, 16, 16)
)


@torch.no_grad()
def test_scores_of_real_and_generated_sound_in_one_pass_are_the_reference_s(golden_step):
    judges = MultiPeriodDiscriminator("v2", TINY)
    judges.load_state_dict(golden_step.discriminator, strict=True)
    hop = golden_step.config.hop
    real = slice_segments(
        golden_step.wave, golden_step.slice_starts * hop, golden_step.config.segment_samples
    )
    scores, _ = judges(torch.cat((real, golden_step.recorded["y_hat"])))
    halves = [score.chunk(2) for score in scores]
    for side, name in enumerate(("D_out_real_cat", "D_out_fake_cat")):
        ours = torch.cat([half[side].flatten() for half in halves])
        assert (ours - golden_step.recorded[name]).abs().max() <= TOLERANCE
    assert [list(half[0].shape) for half in halves] == golden_step.recorded["D_out_shapes"].tolist()


@pytest.mark.parametrize("version, judges", [("v1", 7), ("v2", 9)])
def test_each_version_has_its_judges_and_their_maps(version, judges):
    scores, maps = MultiPeriodDiscriminator(version, TINY)(torch.randn(1, 1, 2000))
    assert len(scores) == len(maps) == judges
    assert [len(layers) for layers in maps] == [7] + [6] * (judges - 1)
