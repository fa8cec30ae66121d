"""How several processes take one step: each computes alone, all say how it went, then all apply.

Gradients are sent only after every process has said that it has them. So none is ever left alone
in an exchange: where memory ran out in one, all hear of it in the same place, and all take the same
step again in the same way. The talk goes from host to host (gloo) and waits for no device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeVar

import torch
from torch import nn

from rvc_colab.errors import TrainingError

# The main process may measure and write samples meanwhile; a machine that is gone ends the wait.
PATIENCE = timedelta(hours=1)
_MOST_PROCESSES = 4096
_Value = TypeVar("_Value")


class Trouble(IntEnum):
    """What kept a process from its gradients; of several, the largest counts."""

    NONE = 0
    COMPILER = 1
    MEMORY = 2
    OTHER = 3


class OtherFailed(Exception):
    """Another process has no gradients for this step: nothing was sent and nothing applied."""

    def __init__(self, trouble: Trouble, process: int) -> None:
        super().__init__(f"{trouble.name.lower()} in process {process + 1}")
        self.trouble, self.process = trouble, process


class EndedWithAnother(TrainingError):
    """Another process failed, and this one ends with it: that one's error is the one to tell."""


class NotApplied(TrainingError):
    """Gradients that all had could not be applied here: the processes differ from now on."""


class Gradients:
    """All gradients of a network in one row of memory: clearing and sending them needs no more.

    A parameter that no pass reaches has none in the end, as in one process.
    """

    def __init__(self, network: nn.Module, processes: int) -> None:
        self._parameters, self._processes = list(network.parameters()), processes
        first = self._parameters[0]
        count = sum(parameter.numel() for parameter in self._parameters)
        self.row = torch.zeros(count, dtype=first.dtype, device=first.device)
        self._reached: set[nn.Parameter] = set()
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._reached.add)

    def clear(self) -> None:
        """Set all to zero; the next passes add to them."""
        self.row.zero_()
        self._reached.clear()
        parts = self.row.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts):
            parameter.grad = part.view_as(parameter)

    def average(self) -> None:
        """Replace them by their mean over the processes; all must ask together."""
        torch.distributed.all_reduce(self.row.div_(self._processes))
        for parameter in self._parameters:
            if parameter not in self._reached:
                parameter.grad = None


class Agreement:
    """What the processes of a run say to each other in a step. With one process, nothing."""

    def __init__(self, processes: int = 1, process: int = 0) -> None:
        self._processes, self._process, self._group = processes, process, None
        if processes > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    def any_of(self, flags: list[bool]) -> list[bool]:
        """Tell which flags are set in any process; all must ask together."""
        return [bool(flag) for flag in self._most([int(flag) for flag in flags])]

    def gather(self, value: _Value) -> list[_Value]:
        """Return the value of every process, in their order; all must ask together."""
        if self._processes == 1:
            return [value]
        values: list[Any] = [None] * self._processes
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def say(self, trouble: Trouble) -> tuple[Trouble, int]:
        """Say how it went here; returns the worst of all processes and whose it is."""
        (worst,) = self._most([trouble * _MOST_PROCESSES + self._process])
        kind = Trouble(worst // _MOST_PROCESSES)
        return kind, worst % _MOST_PROCESSES if kind else 0

    def _most(self, values: list[int]) -> list[int]:
        if self._processes == 1:
            return values
        asked = torch.tensor(values, dtype=torch.int64)
        maximum: Any = torch.distributed.ReduceOp.MAX
        torch.distributed.all_reduce(asked, maximum, group=self._group)
        return [int(value) for value in asked]

    @contextlib.contextmanager
    def applying(self, gradients: Gradients | None) -> Iterator[None]:
        """Run the block, which applies gradients, once all processes have theirs and share them.

        Raises OtherFailed before it when one has none, and NotApplied when the block fails.
        """
        if gradients is None:
            yield
            return
        trouble, process = self.say(Trouble.NONE)
        if trouble is not Trouble.NONE:
            raise OtherFailed(trouble, process)
        try:
            gradients.average()
            yield
        except Exception as error:
            raise NotApplied(
                f"Process {self._process + 1} could not apply what all had computed: {error}",
                "The run goes on from its last snapshot when it is started again.",
            ) from error


def same_everywhere(tensors: Iterable[torch.Tensor]) -> None:
    """Give every process the first one's values."""
    for tensor in tensors:
        torch.distributed.broadcast(tensor, 0)
