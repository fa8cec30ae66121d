from __future__ import annotations

import pytest
import torch

from rvc_colab.conversion.bench import PaddedAttention, table_rows
from rvc_colab.models.attention import Band, RelativeAttention


@pytest.mark.parametrize("frames", [3, 11, 12, 40])
def test_the_padded_attention_measured_against_gives_the_same_numbers(frames: int) -> None:
    torch.manual_seed(0)
    attention = RelativeAttention(16, 2).eval()
    x = torch.randn(1, 16, frames)
    masked = torch.zeros(1, 1, frames, frames, dtype=torch.bool)
    masked[..., frames - 1 :] = True
    banded = attention(x, masked, Band(frames, x.device))
    attention.__class__ = PaddedAttention
    padded = attention(x, masked, Band(frames, x.device))
    torch.testing.assert_close(padded, banded, atol=1e-6, rtol=0)


def test_a_report_lies_out_as_a_table() -> None:
    figures = {"seconds": 1.0, "real_time_factor": 0.5}
    report = {
        "machine": {"clock": "processor seconds"},
        "stages": {"content": figures},
        "total": {**figures, "ratio": 2.0},
        "peak_memory_mb": 1000,
        "options": {"reference order": {**figures, "ratio": 1.0, "difference_db": -300.0}},
    }
    rows = table_rows(report)
    assert {len(row) for row in rows} == {5}
    assert rows[1][:3] == ["content", "1.00", "0.500"]
