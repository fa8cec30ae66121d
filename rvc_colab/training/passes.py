"""Take each step in as many passes as memory allows, fed from a buffer; give way and go on.

When memory runs out, the same step with the same clips and draws is taken again in smaller passes
that add up to the same batch, and when passes of one slice are still too large, with activations
computed again instead of kept. The rest of the run stays so.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.device import empty_cache
from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.exhaustion import is_out_of_memory, release_frames
from rvc_colab.training import compilation
from rvc_colab.training.activations import recompute_more
from rvc_colab.training.batches import Batch, Draw
from rvc_colab.training.feeding import Buffered, Feeder, Place, Plain, Shares
from rvc_colab.training.machine import Machine
from rvc_colab.training.networks import Networks
from rvc_colab.training.sampler import BatchPlan
from rvc_colab.training.step import GanStep, Losses, Player

_log = logging.getLogger(__name__)


def smaller(plan: BatchPlan) -> BatchPlan | None:
    """Split a step into the next smaller passes of the same clips; None below one slice a pass."""
    total = plan.size * plan.parts
    size = next((size for size in range(plan.size - 1, 0, -1) if total % size == 0), None)
    return None if size is None else dataclasses.replace(plan, size=size, parts=total // size)


class Passes:
    """Take the steps of a sitting. `notes` say what was given up, a sentence each."""

    def __init__(
        self,
        game: GanStep,
        networks: Networks,
        shares: Shares,
        machine: Machine,
        config: TrainingConfig,
    ) -> None:
        self.game, self.networks, self.shares = game, networks, shares
        self.machine, self.config = machine, config
        self.notes: list[str] = []
        self._end: int | None = None
        self.feeder: Feeder = Plain(shares)

    @property
    def plan(self) -> BatchPlan:
        """Return how a step is divided now."""
        return self.shares.plan

    def batch_in_words(self) -> str:
        """Say the size of a pass and of the whole step."""
        plan = self.plan
        passes = f" × {plan.parts} passes" if plan.parts > 1 else ""
        processes = f" × {plan.processes} processes" if plan.processes > 1 else ""
        return f"batch {plan.size}{passes}{processes} = {plan.global_size}"

    def open(self, place: Place, end: int, stopped: Callable[[], bool]) -> None:
        """Begin preparing steps from `place` to before `end`.

        On a GPU with an automatic batch size a step is rehearsed first. With a device of its own
        for the data, waits for a full buffer and the start delay, or until `stopped` says so.
        """
        self._end = end
        if self.config.batch_size is None and self.shares.device.type != "cpu":
            self.rehearse()
        self.feeder = feeder = self._feeder()
        if self.machine.devices is not None and self.machine.devices.apart:
            feeder.fill(place, self.config.model_start_delay, stopped)

    def close(self) -> None:
        """Stop preparing."""
        self.feeder.close()

    def step(self, place: Place, adversarial: bool, measure: bool) -> Losses:
        """Take the step at `place`; on lack of memory again and again, more modestly.

        Raises MemoryBudgetError when nothing is left to give up.
        """
        while True:
            try:
                return self.game.step(self.feeder.take(place), adversarial, measure)
            except Exception as error:
                if not self._answers(error, f"in step {place.step + 1}"):
                    raise
            # Only here, outside of `except`, nothing holds the failed attempt any more.
            self._begin_anew()

    def rehearse(self) -> None:
        """Find passes that fit: steps without consequence on the longest clips.

        Several processes rehearse together and take what fits in all of them.
        """
        while True:
            failed = False
            try:
                self._rehearsal()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                release_frames(error)
                failed = True
            self.game.abandon()
            empty_cache()
            if not self.machine.any_process([failed])[0]:
                return
            words = self._give_way()
            if words is None:
                raise MemoryBudgetError(
                    "Not even one slice at a time fits in memory.",
                    "Close other programs, or use a shorter --segment-frames or --device cpu.",
                )
            self._say(f"A rehearsed step did not fit in memory: {words}.")

    def _rehearsal(self) -> None:
        plan, lengths = self.plan, self.shares.clips.lengths
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        parts = self.shares.parts_of([longest] * plan.global_size, seed=0)[:1]
        rehearse_step(self.game, parts[0])

    def _answers(self, error: Exception, where: str) -> bool:
        """Give something up for an error and say so; False when the error has no answer."""
        if compilation.is_compile_error(error) and compilation.undo(self.networks):
            self._say(f"Compiled networks failed {where}; they run uncompiled: {_first(error)}.")
            return True
        if not is_out_of_memory(error):
            return False
        release_frames(error)
        if self.plan.processes > 1:
            plan = smaller(self.plan) or self.plan
            raise MemoryBudgetError(
                f"Memory ran out {where} in process {self.shares.process}: {_first(error)}.",
                f"The run goes on from its last snapshot with --batch-size {plan.size} "
                f"--grad-accumulation {plan.parts} --activation-checkpointing all.",
            ) from error
        words = self._give_way()
        if words is None:
            tried = " ".join(self.notes)
            raise MemoryBudgetError(
                f"Memory ran out {where}: {_first(error)}. {tried}".strip(),
                "Close other programs, or use a shorter --segment-frames or --device cpu.",
            ) from error
        self._say(f"Memory ran out {where}: {words}.")
        return True

    def _give_way(self) -> str | None:
        """Take the next rung and say it; None when there is none."""
        self.feeder.close()
        plan = smaller(self.plan)
        if plan is not None:
            self.shares = dataclasses.replace(self.shares, plan=plan)
            compilation.undo(self.networks)  # made for passes of the old size
            return f"it is taken with {self.batch_in_words()}, the same slices as before"
        if recompute_more(self.networks):
            compilation.undo(self.networks)
            return "activations are computed again instead of kept"
        return None

    def _begin_anew(self) -> None:
        self.game.abandon()
        empty_cache()
        self.feeder.close()
        self.feeder = self._feeder()

    def _feeder(self) -> Buffered:
        return Buffered(self.shares, self.config.buffer_size, self._end)

    def _say(self, sentence: str) -> None:
        _log.warning("%s", sentence)
        self.notes.append(sentence)


class _Rest:
    """Stands in for an optimizer in a rehearsal: takes its memory and does nothing."""

    def __init__(self, player: Player) -> None:
        parameters = [p for p in player.plain.parameters() if p.requires_grad]
        held = getattr(player.optimizer, "optimizer", player.optimizer).state
        new = [p for p in parameters if p not in held]
        self.moments = [torch.empty_like(p) for p in new for _ in range(2)]
        self.plain = player.plain

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.plain.zero_grad()

    def step(self) -> None:
        """Change nothing."""


def rehearse_step(game: GanStep, part: tuple[Batch, Draw]) -> None:
    """Go through a step on one part without changing anything but gradients."""
    generator, discriminator = game.generator, game.discriminator
    discriminator.plain.requires_grad_(True)
    rehearsal = GanStep(
        Player(generator.plain, _Rest(generator)),  # type: ignore[arg-type]
        Player(discriminator.plain, _Rest(discriminator)),  # type: ignore[arg-type]
        dataclasses.replace(game.settings, max_grad_norm=None),
        game.machinery,
    )
    rehearsal.step([part])


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
