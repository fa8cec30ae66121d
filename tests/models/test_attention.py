"""The banded relative attention equals the written-out sum, and costs no more than it says."""

from __future__ import annotations

import pytest
import torch

from rvc_colab.models.attention import WINDOW, Band, RelativeAttention

TOLERANCE = 1e-6


def written_out(layer: RelativeAttention, x: torch.Tensor) -> torch.Tensor:
    """The definition, one pair of frames at a time: content score plus a bias by distance."""
    frames, width = x.shape[2], x.shape[1] // layer.heads
    query, key, value = (
        conv(x)[0].view(layer.heads, width, frames)
        for conv in (layer.conv_q, layer.conv_k, layer.conv_v)
    )
    out = torch.zeros(layer.heads, width, frames)
    for head in range(layer.heads):
        for i in range(frames):
            scores = torch.stack([query[head, :, i] @ key[head, :, j] for j in range(frames)])
            for j in range(max(0, i - WINDOW), min(frames, i + WINDOW + 1)):
                scores[j] += query[head, :, i] @ layer.emb_rel_k[0, j - i + WINDOW]
            weights = torch.softmax(scores / width**0.5, 0)
            for j in range(frames):
                out[head, :, i] += weights[j] * value[head, :, j]
                if abs(j - i) <= WINDOW:
                    out[head, :, i] += weights[j] * layer.emb_rel_v[0, j - i + WINDOW]
    return layer.conv_o(out.view(1, -1, frames))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 4, 11, 26])
def test_attention_is_the_written_out_sum(frames):
    torch.manual_seed(0)
    layer = RelativeAttention(8, 2).eval()
    x = torch.randn(1, 8, frames)
    seen = torch.zeros(1, 1, frames, frames, dtype=torch.bool)
    ours = layer(x, seen, Band(frames, x.device))
    assert (ours - written_out(layer, x)).abs().max() <= TOLERANCE


def test_the_relative_terms_grow_with_length_not_with_its_square():
    short, long = Band(100, torch.device("cpu")), Band(1000, torch.device("cpu"))
    assert long.columns.numel() == 10 * short.columns.numel()


def test_gradients_of_the_band_are_those_of_the_definition():
    torch.manual_seed(0)
    band = Band(13, torch.device("cpu"))
    scores = torch.randn(1, 1, 13, 13, dtype=torch.float64, requires_grad=True)
    added = torch.randn(1, 1, 13, 2 * WINDOW + 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, a: band.take_from(band.add_to(s, a).tanh()), (scores, added)
    )
