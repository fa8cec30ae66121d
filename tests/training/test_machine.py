"""Device, precision and batch size: what is asked is taken, the rest planned."""

import numpy as np
import pytest
import torch

from rvc_colab.config import Precision, TrainingConfig
from rvc_colab.errors import DeviceError
from rvc_colab.settings import load
from rvc_colab.training.batches import Clip
from rvc_colab.training.devices import Devices
from rvc_colab.training.machine import open_machine
from rvc_colab.training.state import Position, RunState
from rvc_colab.training.step import Player


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


@pytest.mark.parametrize("prefix", ["RVC", "URVC"])
def test_the_variables_of_others_reach_the_step(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    given = {"MIXED_PRECISION": "bf16", "GRAD_ACCUMULATION": "3", "MAX_GRAD_NORM": "0.5"}
    for name, value in {**given, "ACCELERATOR": "cpu"}.items():
        monkeypatch.setenv(f"{prefix}_{name}", value)
    unset = {"mixed_precision", "grad_accumulation", "max_grad_norm", "device"}
    config = load(TrainingConfig, tiny_config.model_dump(exclude=unset))
    machine = open_machine(config)
    assert machine.device.type == "cpu" and machine.accelerator.mixed_precision == "bf16"
    assert machine.plan.accumulation == 3 and config.max_grad_norm == 0.5


def test_an_accelerator_that_is_not_there_is_refused(tiny_config: TrainingConfig) -> None:
    with pytest.raises(DeviceError, match="rocm"):
        open_machine(tiny_config.model_copy(update={"device": "rocm:9"}))


def test_fp16_on_a_cpu_becomes_fp32_and_says_so(tiny_config: TrainingConfig) -> None:
    machine = open_machine(tiny_config.model_copy(update={"mixed_precision": Precision.FP16}))
    assert machine.accelerator.mixed_precision == "no" and "fp16" in machine.notes[0]


@pytest.mark.parametrize("choice", ["off", "all", "1000000"])
def test_activation_checkpointing_is_planned_as_asked(
    tiny_config: TrainingConfig, choice: str
) -> None:
    config = tiny_config.model_copy(update={"activation_checkpointing": choice})
    assert open_machine(config).plan.checkpointing == (choice != "off")


def test_the_loss_scale_is_saved_and_restored() -> None:
    def state(scaler: torch.amp.GradScaler) -> RunState:
        network = torch.nn.Linear(1, 1)
        player = Player(network, torch.optim.AdamW(network.parameters()))
        return RunState({"one": player}, Position(), scaler=scaler)

    old, new = (torch.amp.GradScaler("cpu", init_scale=scale) for scale in (64.0, 2.0))
    old.scale(torch.zeros(1))  # the scale becomes a tensor when first used
    state(new).restore(state(old).snapshot())
    assert new.get_scale() == 64.0


def test_clips_that_do_not_fit_on_the_gpu_stay_in_memory(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, gpu = open_machine(tiny_config), torch.device("cuda", 1)
    machine.devices = Devices(torch.device("cuda", 0), gpu)
    clips = [Clip(np.zeros(1000, np.float32), np.zeros((2, 256), np.float16), None)]
    monkeypatch.setattr("rvc_colab.training.machine.cuda_memory", lambda index: (100_000, 0))
    assert machine.place_for(clips) == gpu and not machine.notes
    monkeypatch.setattr("rvc_colab.training.machine.cuda_memory", lambda index: (1_000, 0))
    assert machine.place_for(clips).type == "cpu" and "stay in memory" in machine.notes[0]
