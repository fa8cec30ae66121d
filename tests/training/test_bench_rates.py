"""Rates: each arithmetic and batch size has its row, and what cannot be had says so."""

from typing import Any

import pytest
import torch

from rvc_colab.config import Precision, TrainingConfig
from rvc_colab.training.bench_rates import Form, measure_rates, rate_rows
from rvc_colab.training.step import GanStep


def test_each_arithmetic_and_batch_has_its_row(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = GanStep.step

    def limited(self: GanStep, parts: Any, *rest: Any) -> Any:
        if len(parts[0][0].spec) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, parts, *rest)

    monkeypatch.setattr(GanStep, "step", limited)
    forms = [Form("fp32", Precision.FP32), Form("graphs", Precision.BF16, cuda_graphs=True)]
    rows = measure_rates(tiny_config, 1, forms, batches=(2, 4), side=64)
    assert [(row["form"], row["batch"]) for row in rows] == [
        (form, batch) for form in ("fp32", "graphs") for batch in (2, 4)
    ]
    assert rows[0]["seconds"] > 0 and rows[0]["share_of_peak"] > 0 and rows[0]["note"] == ""
    assert "no CUDA device" in rows[2]["note"] and rows[3]["note"] == "out of memory"
    table = rate_rows(rows)
    assert all(len(row) == len(table[0]) for row in table)
