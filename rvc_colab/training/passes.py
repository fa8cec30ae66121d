"""Take each step in as many passes as memory allows, fed from a buffer; give way and go on.

When memory runs out, the same step with the same clips and draws is taken again in smaller passes
that add up to the same batch, and when passes of one slice are still too large, with activations
computed again instead of kept. The rest of the run stays so.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from rvc_colab.config import TrainingConfig
from rvc_colab.device import empty_cache
from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.exhaustion import is_out_of_memory, release_frames
from rvc_colab.training import compilation
from rvc_colab.training.activations import recompute_more
from rvc_colab.training.agreement import EndedWithAnother, NotApplied, OtherFailed, Trouble
from rvc_colab.training.batches import Batch, Draw
from rvc_colab.training.feeding import Buffered, Feeder, Place, Plain, Shares
from rvc_colab.training.machine import Machine
from rvc_colab.training.networks import Networks
from rvc_colab.training.sampler import BatchPlan
from rvc_colab.training.step import GanStep, Losses, Machinery, Player

_log = logging.getLogger(__name__)

EPOCH_STEPS = 32  # an automatic batch leaves an epoch so many: each one learns from all before it


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

        With a device of its own for the data, waits for a full buffer and the start delay, or
        until `stopped` says so.
        """
        self._end = end
        self.feeder = feeder = self._feeder()
        if self.machine.devices is not None and self.machine.devices.apart:
            feeder.fill(place, self.config.model_start_delay, stopped)

    def close(self) -> None:
        """Stop preparing."""
        self.feeder.close()

    def step(self, place: Place, adversarial: bool, measure: bool) -> Losses:
        """Take the step at `place`; on lack of memory again and again, more modestly.

        Of several processes all do so when one lacks it. Raises MemoryBudgetError when nothing is
        left to give up.
        """
        while True:
            try:
                return self.game.step(self.feeder.take(place), adversarial, measure)
            except NotApplied:
                raise
            except Exception as error:
                self._answer(error, f"in step {place.step + 1}")
            # Only here, outside of `except`, nothing holds the failed attempt any more.
            self._begin_anew()

    def rehearse(self, grow: bool = False) -> None:
        """Find passes that fit: steps without consequence on the longest clips.

        With `grow` the batch is doubled for as long as it fits, within what the memory model
        allows and an epoch of EPOCH_STEPS. Several processes rehearse together and take what fits
        in all of them.
        """
        grow = grow and self.plan.parts == 1 and not self.machine.plan.checkpointing
        while not self._fits():
            grow, words = False, self._give_way()
            if words is None:
                raise MemoryBudgetError(
                    "Not even one slice at a time fits in memory.",
                    "Close other programs, or use a shorter --segment-frames or --device cpu.",
                )
            self._say(f"A rehearsed step did not fit in memory: {words}.")
        most = min(
            self.machine.plan.batch_size_by_memory,
            self.plan.clips // (EPOCH_STEPS * self.plan.processes),
        )
        while grow and self.plan.size < most:
            before = self.shares
            self.divide(min(2 * self.plan.size, most), 1)
            if not self._fits():
                self.shares, grow = before, False
            else:
                _log.info("A rehearsed step left room: %s.", self.batch_in_words())

    def divide(self, size: int, parts: int) -> None:
        """Take the steps from now on in `parts` passes of `size` slices."""
        plan = dataclasses.replace(self.plan, size=size, parts=parts)
        self.shares = dataclasses.replace(self.shares, plan=plan)

    def _fits(self) -> bool:
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
        return not self.machine.any_process([failed])[0]

    def _rehearsal(self) -> None:
        plan, lengths = self.plan, self.shares.clips.lengths
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        parts = self.shares.parts_of([longest] * plan.global_size, seed=0)[:1]
        rehearse_step(self.game, parts[0])

    def _answer(self, error: Exception, where: str) -> None:
        """Give up something for an error and say so; raise it when it has no answer.

        All processes come here when one has failed, and do the same.
        """
        if isinstance(error, OtherFailed):
            trouble, process, words = error.trouble, error.process, ""
        else:
            trouble, process = self.machine.agreement.say(_trouble(error))
            words = f": {_first(error)}"
        if self.plan.processes > 1:
            where += f" of process {process + 1}"
        if trouble is Trouble.OTHER:
            if isinstance(error, OtherFailed):
                raise EndedWithAnother(
                    f"Something failed {where}, and this one ends with it.",
                    "The run goes on from its last snapshot when it is started again.",
                ) from error
            raise error
        release_frames(error)
        if trouble is Trouble.COMPILER:
            if not compilation.undo(self.networks) and not isinstance(error, OtherFailed):
                raise error
            self._say(f"Compiled networks failed {where}; they run uncompiled{words}.")
            return
        given_up = self._give_way()
        if given_up is None:
            tried = " ".join(self.notes)
            raise MemoryBudgetError(
                f"Memory ran out {where}{words}. {tried}".strip(),
                "Close other programs, or use a shorter --segment-frames or --device cpu.",
            ) from error
        self._say(f"Memory ran out {where}: {given_up}.")

    def _give_way(self) -> str | None:
        """Take the next rung and say it; None when there is none."""
        self.feeder.close()
        plan = smaller(self.plan)
        if plan is not None:
            self.divide(plan.size, plan.parts)
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
        if self.machine.is_main:
            _log.warning("%s", sentence)
        self.notes.append(sentence)


class _Rest:
    """Stands in for an optimizer in a rehearsal: does nothing."""

    def __init__(self, player: Player) -> None:
        self._network = player.network

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self._network.zero_grad()

    def step(self) -> None:
        """Change nothing."""


def rehearse_step(game: GanStep, part: tuple[Batch, Draw]) -> None:
    """Go through a step on one part without changing anything but gradients."""
    game.discriminator.network.requires_grad_(True)
    resting = [
        Player(player.network, _Rest(player), player.shared)  # type: ignore[arg-type]
        for player in (game.generator, game.discriminator)
    ]
    settings = dataclasses.replace(game.settings, max_grad_norm=None)
    alone = dataclasses.replace(game.machinery, applying=Machinery().applying)
    rehearsal = GanStep(resting[0], resting[1], settings, alone)
    rehearsal.step([part])


def _trouble(error: Exception) -> Trouble:
    if compilation.is_compile_error(error):
        return Trouble.COMPILER
    return Trouble.MEMORY if is_out_of_memory(error) else Trouble.OTHER


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
