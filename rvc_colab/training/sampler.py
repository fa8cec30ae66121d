"""Which clips make which batch: a pure function of seed, epoch and position."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BatchPlan:
    """Batches of `size` clips for each of `parts` passes of each of `processes` processes.

    Every clip comes once per epoch; the last batch is filled up from the epoch's beginning.
    """

    clips: int
    size: int
    parts: int = 1
    processes: int = 1
    seed: int = 1234

    @property
    def global_size(self) -> int:
        """Count the clips of one step over all passes and processes."""
        return self.size * self.parts * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Count the steps in which every clip comes once."""
        return -(-self.clips // self.global_size)

    def epoch_order(self, epoch: int) -> list[int]:
        """Return the order of the clips in an epoch, filled up to whole steps."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.clips, generator=generator).tolist()
        wanted = self.steps_per_epoch * self.global_size
        return (order * (-(-wanted // self.clips)))[:wanted]

    def batch(self, epoch: int, number: int) -> list[int]:
        """Return the clips of step `number` of an epoch, for all passes and processes together."""
        first = number * self.global_size
        return self.epoch_order(epoch)[first : first + self.global_size]

    def share(self, part: int, process: int) -> tuple[int, int]:
        """Return which of a step's clips (first, last) one pass of one process takes."""
        first = (process * self.parts + part) * self.size
        return first, first + self.size


def step_seed(seed: int, step: int) -> int:
    """Name the random draws of a step: the same in whatever sitting and process it is computed."""
    return (seed * 1_000_003 + step * 7_919 + 1) % (1 << 62)
