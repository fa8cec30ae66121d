"""Weight norm, folding and lengths of the shared layers."""

from __future__ import annotations

import pytest
import torch

from rvc_colab.models.layers import NormedConv1d, NormedUpsample, fold_weight_norm, sequence_mask


def test_a_normed_layer_starts_as_the_plain_one_of_the_same_seed():
    torch.manual_seed(0)
    plain = torch.nn.Conv1d(4, 6, 3)
    torch.manual_seed(0)
    normed = NormedConv1d(4, 6, 3)
    x = torch.randn(1, 4, 10)
    assert torch.allclose(normed(x), plain(x), atol=1e-6)


def test_published_names_in_published_order():
    assert list(NormedConv1d(4, 6, 3).state_dict()) == ["bias", "weight_g", "weight_v"]


def test_weight_g_is_the_length_of_each_kernel():
    layer = NormedConv1d(4, 6, 3)
    with torch.no_grad():
        layer.weight_v.mul_(5)
    folded = fold_weight_norm(layer).weight
    assert torch.allclose(folded.flatten(1).norm(dim=1), layer_lengths(folded))
    assert folded.shape == (6, 4, 3)


def layer_lengths(weight: torch.Tensor) -> torch.Tensor:
    return weight.square().sum((1, 2)).sqrt()


@torch.no_grad()
def test_folding_changes_no_bit():
    layer = NormedConv1d(4, 6, 3)
    x = torch.randn(2, 4, 50)
    before = layer(x)
    assert torch.equal(fold_weight_norm(layer)(x), before)


@pytest.mark.parametrize("rate, kernel", [(10, 16), (12, 24), (2, 4), (5, 10), (3, 8), (5, 5)])
def test_upsampling_multiplies_the_length_exactly(rate, kernel):
    assert NormedUpsample(4, 2, kernel, rate)(torch.randn(1, 4, 7)).shape == (1, 2, 7 * rate)


def test_mask_is_one_inside_the_length():
    assert sequence_mask(torch.tensor([2, 0]), 3, torch.float32).tolist() == [
        [[1, 1, 0]],
        [[0, 0, 0]],
    ]
