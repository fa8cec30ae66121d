"""The training run: batches, steps, reports, snapshots, until it is done or asked to stop."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rvc_colab.audio.spectral import mel_scales
from rvc_colab.config import Latent, TrainingConfig
from rvc_colab.errors import TrainingError
from rvc_colab.models.synthesizer import Synthesizer
from rvc_colab.profiling import stage
from rvc_colab.progress import Progress
from rvc_colab.training.activations import recompute_as_asked
from rvc_colab.training.batches import ClipStore
from rvc_colab.training.compilation import speed_up_as_asked
from rvc_colab.training.feeding import Place, Shares
from rvc_colab.training.journal import Journal
from rvc_colab.training.machine import Machine
from rvc_colab.training.networks import Networks
from rvc_colab.training.passes import Passes
from rvc_colab.training.sampler import BatchPlan
from rvc_colab.training.samples import speak
from rvc_colab.training.snapshots import Snapshots
from rvc_colab.training.state import Position, RunState
from rvc_colab.training.step import GanStep, StepSettings
from rvc_colab.training.stopping import StopRequests
from rvc_colab.training.validation import Validator, in_words, measure_now, next_after, overtrained
from rvc_colab.training.writer import SnapshotWriter

_log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0
SAMPLE_SECONDS = 300.0
BETAS, EPSILON = (0.8, 0.99), 1e-9  # published


@dataclass
class FitResult:
    """How far a run came, and why it ended."""

    position: Position
    ended: str
    losses: dict[str, float] = field(default_factory=dict)
    steps_per_second: float = 0.0
    warnings: list[str] = field(default_factory=list)
    resumed_from: int | None = None  # the step of the snapshot it went on from
    pretrained: list[str] = field(default_factory=list)  # what was taken from published weights

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def in_words(self) -> str:
        """Say how far the run came."""
        first = f"{self.position.step} steps, {self.position.epoch} epochs, {self.ended}."
        if self.resumed_from is not None:
            first += f" It went on from the snapshot of step {self.resumed_from}."
        return "\n".join([first, *(f"Note: {line}" for line in self.warnings)])


@dataclass
class Fitting:
    """One sitting of a run. `machine`, `networks` and `clips` are handed in; disk goes through
    `snapshots` and `journal`."""

    config: TrainingConfig
    machine: Machine
    networks: Networks
    clips: ClipStore
    snapshots: Snapshots
    journal: Journal | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    validator: Validator | None = None

    def __post_init__(self) -> None:
        config, machine = self.config, self.machine

        def optimizer_of(network: torch.nn.Module) -> torch.optim.Optimizer:
            return torch.optim.AdamW(
                network.parameters(), config.learning_rate, BETAS, EPSILON, fused=True
            )

        players = {
            "generator": machine.player(self.networks.generator, optimizer_of),
            "discriminator": machine.player(self.networks.discriminator, optimizer_of),
        }
        scales = mel_scales(self.networks.spectrogram, config.mel_scales)
        settings = StepSettings(
            scales[0],
            config.mel_weight,
            config.kl_weight,
            config.max_grad_norm,
            config.decode_from is Latent.PRIOR,
            scales[1:],
        )
        # The (1, K) form of the same convolutions: same numbers, faster, above all in 16 bit.
        self.networks.generator.dec.channels_last = True
        game = GanStep(
            players["generator"], players["discriminator"], settings, machine.machinery()
        )
        self.state = RunState(players, Position(), self.facts, machine.scaler)
        plan = BatchPlan(
            len(self.clips),
            machine.plan.batch_size,
            machine.plan.accumulation,
            machine.processes,
            config.seed,
        )
        size, process = self.networks.generator.config, machine.accelerator.process_index
        shares = Shares(self.clips, plan, size, process, machine.device)
        self.passes = Passes(game, self.networks, shares, machine, config)
        if words := recompute_as_asked(
            self.networks, config.activation_checkpointing, machine.plan
        ):
            _log.info("%s", words)
        self._notes = list(machine.notes)
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._losses: dict[str, float] = {}
        self._lost = 0
        self.writer = SnapshotWriter(self.snapshots)
        self.resumed_from: int | None = None
        self._measure_after = 0.0

    @property
    def plan(self) -> BatchPlan:
        """Return how the clips are divided into steps."""
        return self.passes.plan

    @property
    def position(self) -> Position:
        """Return where the run stands."""
        return self.state.position

    @property
    def total_steps(self) -> int:
        """Count the steps of the whole run."""
        steps = self.config.epochs * self.plan.steps_per_epoch
        return steps if self.config.max_steps is None else min(steps, self.config.max_steps)

    def resume(self) -> bool:
        """Go on from the newest whole snapshot; False when there is none."""
        snapshot = self.snapshots.read_newest()
        if snapshot is None:
            return False
        self.state.restore(snapshot)
        self.resumed_from = snapshot.step
        _log.warning("There is a run of this name: it goes on from step %d.", snapshot.step)
        position = self.position
        if position.batch_size is not None:
            self._keep_batch_size(position.batch_size)
        if position.batch >= self.plan.steps_per_epoch:  # the batches are larger than they were
            position.epoch, position.batch = position.epoch + 1, 0
        return True

    def _keep_batch_size(self, before: int) -> None:
        """Let an automatic batch be as large as it was, in passes that the plan's size allows."""
        plan, asked = self.plan, self.config
        automatic = asked.batch_size is None and asked.grad_accumulation == 1
        if before == plan.global_size:
            return
        if not automatic or before % plan.processes:
            sentence = f"The batch was {before} slices, now it is {plan.global_size}."
            _log.warning("%s", sentence)
            self._notes.append(sentence)
            return
        each = before // plan.processes
        size = next(size for size in range(min(each, plan.size), 0, -1) if each % size == 0)
        self.passes.divide(size, each // size)

    def _settle_batch(self) -> None:
        """Probe an automatic batch size where memory is a device's; then compile for it."""
        machine = self.machine
        if self.config.batch_size is None and machine.device.type != "cpu":
            self.passes.rehearse(grow=not self.position.step and self.config.grad_accumulation == 1)
        plan = self.plan
        self.position.batch_size = plan.global_size
        machine.plan = replace(machine.plan, batch_size=plan.size, accumulation=plan.parts)
        self._notes += speed_up_as_asked(self.networks, self.config, machine)

    def run(self, progress: Progress) -> FitResult:
        """Train until the end or a stop request; a snapshot is written either way."""
        begun, first, before = time.monotonic(), self.position.step, self.position.seconds
        saved = sampled = reported = begun
        self._settle_batch()
        progress.stage("Training", max(0, self.total_steps - first))
        ended = ""
        with (
            StopRequests(progress, self.config.max_minutes) as stop,
            contextlib.closing(self.passes),
        ):
            self.passes.open(self._place(), self.total_steps, lambda: bool(stop.reason))
            while not ended:
                now = time.monotonic()
                due = now - reported >= REPORT_SECONDS or self.position.step == first
                ended, report = self._decide(stop, due)
                if ended:
                    break
                with stage("step"):
                    self._advance(report)
                progress.advance(1, self._in_words() if report else "")
                if report:
                    reported = now
                pause = self.writer.interval(self.config.save_minutes * 60)
                best = self.position.batch == 0 and self._measure()
                if best or (now - saved >= pause and not self.writer.busy):
                    self._save(time.monotonic() - begun)
                    begun = saved = time.monotonic()
                    if saved - sampled >= SAMPLE_SECONDS:
                        self._sample()
                        sampled = time.monotonic()
            seconds = time.monotonic() - begun
            self._report({})
            self.writer.wait()
            if ended == "finished" and self.position.step > first:
                self._measure(last=True)
            if self.position.step > first or not self.snapshots.steps():
                self._save(seconds, last=True)
                self._sample()
        rate = (self.position.step - first) / max(1e-9, self.position.seconds - before)
        notes = [
            *self._notes,
            *self.passes.notes,
            *self.snapshots.warnings,
            *self.writer.warnings,
            *in_words(self.position),
        ]
        if self.validator is not None:
            notes += self.validator.warnings
        return FitResult(self.position, ended, self._losses, rate, notes, self.resumed_from)

    def _measure(self, last: bool = False) -> bool:
        """Measure on the held-out recordings when it is time; True when it is the best so far."""
        position, begun = self.position, time.monotonic()
        if self.validator is None or not self.machine.is_main:
            return False
        if position.measured_step == position.step or (begun < self._measure_after and not last):
            return False
        with stage("validation"):
            numbers, best = measure_now(self.validator, self.networks.generator, position)
        if self.journal is not None:
            self.journal.numbers(position.step, numbers, epoch=position.epoch)
        now = time.monotonic()
        self._measure_after = now + next_after(now - begun, self.config.validation_minutes)
        return best

    def _why_end(self, stop: StopRequests) -> str:
        if stop.reason or not (self.config.early_stop and overtrained(self.position)):
            return stop.reason
        return f"overtraining was found: the best was step {self.position.best_step}"

    def _decide(self, stop: StopRequests, report: bool) -> tuple[str, bool]:
        """Say why to end (empty: go on), and whether to report the coming step.

        All processes must do both at the same step.
        """
        position = self.position
        if position.step >= self.total_steps:
            return "finished", False
        reason = self._why_end(stop)
        ending, report = self.machine.any_process([bool(reason), report])
        return (reason or "stopped by another process") if ending else "", report

    def _advance(self, report: bool) -> None:
        position = self.position
        rate = self.config.learning_rate * self.config.lr_decay**position.epoch
        for player in self.state.players.values():
            for group in player.optimizer.param_groups:
                group["lr"] = rate
        adversarial = position.step >= self.config.reconstruction_steps
        losses = self.passes.step(self._place(), adversarial, measure=report)
        self._add(losses)
        position.step += 1
        position.batch += 1
        if position.batch >= self.plan.steps_per_epoch:
            position.epoch, position.batch = position.epoch + 1, 0
        if report:
            self._report({name: float(value) for name, value in losses.items() if "/" in name})

    def _place(self) -> Place:
        position = self.position
        return Place(position.step, position.epoch, position.batch)

    def _add(self, losses: dict[str, Tensor]) -> None:
        plain = {name: value for name, value in losses.items() if "/" not in name}
        if set(plain) != set(self._sums):
            self._sums, self._summed = (
                {name: torch.zeros_like(value) for name, value in plain.items()},
                0,
            )
        torch._foreach_add_(list(self._sums.values()), [plain[name] for name in self._sums])
        self._summed += 1

    def _report(self, norms: dict[str, float]) -> None:
        """Read the mean losses since the last report (waits for the device); write them down."""
        if not self._summed:
            return
        values = self.machine.mean(
            torch.stack(list(self._sums.values())).div(self._summed)
        ).tolist()
        self._losses = dict(zip(self._sums, values))
        self._sums, self._summed = {}, 0
        self._check_finite()
        model = self.networks.generator
        if model.config.has_f0:  # the one scalar that can silence the pitch
            norms = norms | {"source/weight": float(model.dec.m_source.l_linear.weight.detach())}
        if self.journal is not None and self.machine.is_main:
            rate = self.config.learning_rate * self.config.lr_decay**self.position.epoch
            facts = {"epoch": self.position.epoch, "learning_rate": rate}
            self.journal.numbers(self.position.step, self._losses | norms, **facts)

    def _check_finite(self) -> None:
        total = self._losses.get("total", 0.0)
        self._lost = 0 if total == total and abs(total) != float("inf") else self._lost + 1
        if self._lost >= 3:
            raise TrainingError(
                f"The loss is not a number any more at step {self.position.step}.",
                "Run it again with --mixed-precision fp32 or a smaller --learning-rate: it goes on "
                "from the last snapshot.",
            )

    def _save(self, seconds: float, last: bool = False) -> None:
        """Copy the state and write it beside the training; the last one is waited for."""
        self.position.seconds += seconds
        if not self.machine.is_main or self._lost:
            return
        with stage("snapshot"):
            write = self.writer.finish if last else self.writer.begin
            write(self.state.snapshot(), self.position.best_step)

    def _sample(self) -> None:
        if self.journal is None or not self.machine.is_main:
            return
        model = self.networks.generator
        assert isinstance(model, Synthesizer)
        longest = max(range(len(self.clips)), key=lambda i: self.clips.lengths[i])
        with stage("sample"):
            wave = speak(model, self.clips, longest, self.config.seed)
            self.journal.sound(self.position.step, "sample", wave, model.config.sample_rate)

    def _in_words(self) -> str:
        words = ", ".join(
            f"{name} {value:.3g}" for name, value in self._losses.items() if name != "total"
        )
        return f"epoch {self.position.epoch + 1}, {self.passes.batch_in_words()}, {words}"
