"""Device, precision and batch size: what is asked is taken, the rest planned."""

import pytest
import torch

from rvc_colab.config import Precision, TrainingConfig
from rvc_colab.training.machine import open_machine


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_asked_precision_is_computed_in(tiny_config: TrainingConfig, precision: str) -> None:
    config = tiny_config.model_copy(update={"mixed_precision": Precision(precision)})
    machine = open_machine(config)
    with machine.machinery().autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert machine.device.type == "cpu" and machine.plan.batch_size == 2


def test_a_player_runs_the_networks_own_forward(tiny_config: TrainingConfig) -> None:
    machine = open_machine(tiny_config.model_copy(update={"mixed_precision": Precision.BF16}))
    network = torch.nn.Linear(2, 2)
    player = machine.player(network, lambda it: torch.optim.AdamW(it.parameters(), fused=True))
    with machine.machinery().autocast():
        assert player.network(torch.ones(1, 2)).dtype == torch.bfloat16


def test_the_plan_gives_a_batch_size_where_none_is_named(tiny_config: TrainingConfig) -> None:
    plan = open_machine(tiny_config.model_copy(update={"batch_size": None})).plan
    assert plan.batch_size >= 1 and plan.accumulation >= 1 and plan.reasons["batch_size"]


def test_one_process_asks_nobody(tiny_config: TrainingConfig) -> None:
    machine = open_machine(tiny_config)
    assert machine.any_process([True, False]) == [True, False]
    assert machine.processes == 1 and machine.is_main
