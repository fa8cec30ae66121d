"""The machine a run computes on, through Accelerate: device, precision, processes, batch size."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch

from rvc_colab.config import Precision, TrainingConfig
from rvc_colab.device import choose_device, cuda_memory
from rvc_colab.hardware.machine import facts
from rvc_colab.hardware.plan import TrainingPlan, plan_training
from rvc_colab.training.agreement import Agreement, Gradients, same_everywhere
from rvc_colab.training.batches import Clip
from rvc_colab.training.devices import Devices, training_devices
from rvc_colab.training.step import Machinery, Player, make_moments

_log = logging.getLogger(__name__)

CLIPS_SHARE = 1 / 3
_ACCELERATE_PRECISION = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}


@dataclass
class Machine:
    """Accelerate's object, the plan with its reasons in words, and what was asked for in vain."""

    accelerator: Any
    plan: TrainingPlan
    devices: Devices | None = None
    notes: list[str] = field(default_factory=list)
    agreement: Agreement = field(default_factory=Agreement)

    @property
    def device(self) -> torch.device:
        """Return the device of this process."""
        return self.accelerator.device

    @property
    def processes(self) -> int:
        """Count the processes that train together."""
        return int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Tell whether this process writes to the disk."""
        return bool(self.accelerator.is_main_process)

    @property
    def scaler(self) -> Any:
        """Return the loss scaler of fp16, else None."""
        return self.accelerator.scaler

    def any_process(self, flags: list[bool]) -> list[bool]:
        """Tell which flags are set in any process; all processes must ask together."""
        return self.agreement.any_of(flags)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average values over the processes; all processes must ask together."""
        return values if self.processes == 1 else self.accelerator.reduce(values, "mean")

    def place_for(self, clips: Sequence[Clip]) -> torch.device:
        """Return where clips lie best: on the data's device where they fit, else in memory.

        On a GPU they may take a third of what is free; the rest is for the networks.
        """
        device = self.devices.data if self.devices is not None and self.devices.apart else None
        device = device or self.device
        if device.type != "cuda":
            return device
        needed = sum(clip.wave.nbytes + clip.content.nbytes for clip in clips)
        free, _ = cuda_memory(device.index or 0)
        if needed <= free * CLIPS_SHARE:
            return device
        self.notes.append(
            f"The clips ({needed / 2**30:.1f} GB) stay in memory: "
            f"{device} has {free / 2**30:.1f} GB free."
        )
        _log.warning("%s", self.notes[-1])
        return torch.device("cpu")

    def machinery(self) -> Machinery:
        """Return how a step makes and applies gradients here."""
        scaler = self.scaler
        return Machinery(
            autocast=self.accelerator.autocast,
            backward=self.accelerator.backward,
            unscale=self.accelerator.unscale_gradients if self.scaler is not None else _nothing,
            applying=self.agreement.applying,
            # An attempt that broke off may have unscaled gradients that are made again.
            forget=scaler._per_optimizer_states.clear if scaler is not None else lambda: None,
        )

    def player(
        self,
        network: torch.nn.Module,
        optimizer_of: Callable[[torch.nn.Module], torch.optim.Optimizer],
    ) -> Player:
        """Put a network on the device and make a player of it.

        Accelerate prepares the optimizer only. It would turn the network's outputs into float32,
        which the losses do themselves, map by map; the step asks for autocast where it wants it.
        And it would send gradients while they are being made, where a process that fails leaves
        the others waiting for it.
        """
        network = network.to(self.device)
        optimizer, shared = self.accelerator.prepare_optimizer(optimizer_of(network)), None
        make_moments(optimizer)
        if self.processes > 1:
            same_everywhere(network.state_dict().values())
            shared = Gradients(network, self.processes)
        return Player(network, optimizer, shared)


def _nothing(optimizer: torch.optim.Optimizer) -> None:
    pass


def open_machine(config: TrainingConfig) -> Machine:
    """Choose device, precision and batch size; what the settings name is taken, the rest planned.

    Raises DeviceError when the asked device is not there.
    """
    from accelerate import Accelerator, PartialState

    devices = training_devices(config)
    on_cpu = devices.model.type == "cpu"
    plan, notes = _plan(config, on_cpu)
    _forget_last_run()
    with _named_device(devices.model):
        state = PartialState(cpu=on_cpu)
        agreement = Agreement(state.num_processes, state.process_index)
        plan = _for_all(plan, agreement)
        accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision=_ACCELERATE_PRECISION[plan.precision],
            step_scheduler_with_optimizer=False,
        )
    if plan.tf32 and accelerator.device.type == "cuda":
        # Convolutions only, nearly all of the work: the mel spectrum is a matrix product and stays
        # in full 32 bit, as all losses do.
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    notes = [*([devices.note] if devices.note else []), *notes]
    return Machine(accelerator, plan, devices, notes, agreement)


def _plan(config: TrainingConfig, on_cpu: bool) -> tuple[TrainingPlan, list[str]]:
    """Plan with what the settings name; also say what cannot be had here."""
    known, notes = facts(ask_torch=True), []
    if on_cpu:
        known = dataclasses.replace(known, gpus=())
    asked = None if config.mixed_precision == Precision.AUTO else str(config.mixed_precision)
    if asked == "fp16" and on_cpu:
        asked = "fp32"
        notes.append("fp16 is not trained in on a CPU: fp32 is used.")
        _log.warning("%s", notes[-1])
    given = config.batch_size is not None or config.grad_accumulation > 1
    recompute = config.activation_checkpointing
    plan = plan_training(
        known,
        config.sample_rate,
        config.batch_size,
        asked,
        config.grad_accumulation if given else None,
        None if recompute == "auto" else recompute != "off",
    )
    return plan, notes


def _for_all(plan: TrainingPlan, agreement: Agreement) -> TrainingPlan:
    """Let the process with the least memory plan for all: a step is divided equally."""
    plans = agreement.gather(plan)
    least = min(plans, key=lambda each: (each.batch_size, each.batch_size_by_memory))
    return dataclasses.replace(least, device=plan.device)


@contextlib.contextmanager
def main_process_first(device: str = "auto") -> Iterator[bool]:
    """Let the main process run the block before the others; yields whether this is the main one.

    The others then find its work done. With one process this does nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    from accelerate import PartialState

    # The others wait while hours of recordings are prepared.
    on_cpu = choose_device(device).device.type == "cpu"
    state = PartialState(cpu=on_cpu, timeout=timedelta(hours=24))
    with state.main_process_first():
        yield bool(state.is_main_process)


@contextlib.contextmanager
def _named_device(device: torch.device) -> Iterator[None]:
    """Let Accelerate take this GPU; of several processes each takes its own."""
    name = "ACCELERATE_TORCH_DEVICE"
    if device.type != "cuda" or int(os.environ.get("WORLD_SIZE", "1")) > 1 or name in os.environ:
        yield
        return
    os.environ[name] = str(device)
    try:
        yield
    finally:
        del os.environ[name]


def _forget_last_run() -> None:
    """Let a second run in this process choose again: Accelerate keeps its choices globally."""
    from accelerate.state import AcceleratorState, PartialState

    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState._reset_state()
