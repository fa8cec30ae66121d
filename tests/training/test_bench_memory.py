"""Each option that saves memory is taken as named, and what a step holds is seen."""

import mmap
from typing import Any

import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training.bench_memory import (
    CHOICES,
    Choice,
    measure_memory,
    memory_rows,
    peak_of,
    watched_memory,
)
from rvc_colab.training.step import GanStep

CPU = torch.device("cpu")
MEGABYTE = 1 << 20


def test_each_choice_is_taken_as_it_is_named(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, int, torch.dtype, int]] = []
    step = GanStep.step

    def seen(self: GanStep, parts: Any) -> Any:
        judge = self.discriminator.network
        with self.machinery.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        again = self.generator.network.dec.recomputed, judge.recomputed  # type: ignore[union-attr]
        taken.append((len(parts), len(parts[0][0].spec), product.dtype, sum(map(len, again))))
        return step(self, parts)

    monkeypatch.setattr(GanStep, "step", seen)
    config = tiny_config.model_copy(update={"batch_size": 2})
    for choice in CHOICES[:-2]:
        peak_of(config, CPU, choice)
    again = [count for *_, count in taken]
    assert [each[:2] for each in taken] == [(1, 2), (2, 1), *[(1, 2)] * 4, (2, 1)]
    assert [i for i, each in enumerate(taken) if each[2] is torch.bfloat16] == [2, 6]
    assert again[:4] == [0] * 4 and 0 < again[4] < again[5] == again[6]


def test_a_buffer_of_steps_is_seen(tiny_config: TrainingConfig) -> None:
    config = tiny_config.model_copy(update={"batch_size": 4})
    rows = measure_memory(config, CPU, choices=[Choice("plain"), Choice("deep", buffer=100)])
    assert rows[0]["share"] == 1.0 and rows[1]["bytes"] > rows[0]["bytes"] + MEGABYTE
    assert [row[0] for row in memory_rows(rows)[1:]] == ["plain", "deep"]


def test_the_peak_counts_and_not_what_stays() -> None:
    # Pages of its own: what an earlier test freed and the allocator kept would not be seen to grow.
    with watched_memory(CPU) as peak, mmap.mmap(-1, 64 * MEGABYTE) as pages:
        held = torch.frombuffer(pages, dtype=torch.float32)
        for _ in range(200):
            held.add_(1)
        del held
    assert 60 * MEGABYTE < peak.bytes < 200 * MEGABYTE
