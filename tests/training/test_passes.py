"""When memory runs out the step is taken again, smaller, and nothing else changes."""

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import MemoryBudgetError
from rvc_colab.progress import SilentProgress
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.devices import Devices
from rvc_colab.training.feeding import Buffered
from rvc_colab.training.fit import Fitting
from rvc_colab.training.machine import open_machine
from rvc_colab.training.networks import build_networks
from rvc_colab.training.passes import smaller
from rvc_colab.training.sampler import BatchPlan
from rvc_colab.training.snapshots import Snapshots
from rvc_colab.training.step import GanStep

TOLERANCE = 1e-5
Make = Callable[..., Fitting]


@pytest.fixture
def make(tiny_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a fitting of a tiny voice on noise: four slices a step, three steps."""
    random = np.random.default_rng(0)
    made = [
        Clip(
            0.1 * random.standard_normal(160 * frames).astype(np.float32),
            random.standard_normal((frames // 2, 256)).astype(np.float16),
            np.full(frames, 200.0, dtype=np.float32),
        )
        for frames in (32, 40, 36, 40, 34)
    ]

    monkeypatch.setattr("rvc_colab.training.fit.REPORT_SECONDS", 1e9)

    def build(clips: int = 5, **changes: Any) -> Fitting:
        settings = {"batch_size": 4, "max_steps": 3, **changes}
        config = tiny_config.model_copy(update=settings)
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        networks = build_networks(config)
        store = ClipStore((made * clips)[:clips], spectrogram_config(16000, "v1"))
        return Fitting(config, open_machine(config), networks, store, Snapshots(folder))

    return build


def _fail_above(
    monkeypatch: pytest.MonkeyPatch, half: str, allowed: Callable[[GanStep, int], bool]
) -> None:
    """Let a half of the step run out of memory after its work, where it is not `allowed`."""
    original = getattr(GanStep, half)

    def limited(self: GanStep, parts: Any, *rest: Any) -> Any:
        if not allowed(self, len(parts[0][0].spec)):
            for player in (self.generator, self.discriminator):
                for parameter in player.network.parameters():
                    parameter.grad = torch.ones_like(parameter)  # what an attempt leaves behind
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, parts, *rest)

    monkeypatch.setattr(GanStep, half, limited)


def _same_gradients(one: Fitting, two: Fitting) -> bool:
    """Compare what one step left in the moments, of all parameters together."""
    for name in ("generator", "discriminator"):
        states = (f.state.players[name].optimizer.state_dict()["state"] for f in (one, two))
        moments = [torch.cat([s["exp_avg"].flatten() for s in each.values()]) for each in states]
        if float((moments[0] - moments[1]).norm() / moments[0].norm()) > TOLERANCE:
            return False
    return True


@pytest.mark.parametrize("half", ["_train_discriminator", "_train_generator"])
def test_out_of_memory_changes_the_passes_and_not_the_result(
    make: Make, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    plain, cramped = make(), make()
    expected = plain.run(SilentProgress()).losses
    _fail_above(monkeypatch, half, lambda game, size: size <= 1)
    result = cramped.run(SilentProgress())
    assert cramped.passes.plan == dataclasses.replace(plain.plan, size=1, parts=4)
    assert result.position.step == 3 and len(result.warnings) == 2
    assert "step 1" in result.warnings[0] and "2 × 2 passes = 4" in result.warnings[0]
    assert result.losses == pytest.approx(expected, rel=TOLERANCE)


def test_after_the_smallest_passes_activations_are_computed_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, cramped = make(max_steps=1), make(max_steps=1)
    plain.run(SilentProgress())
    _fail_above(
        monkeypatch,
        "_train_generator",
        lambda game, size: bool(game.discriminator.network.recomputed),  # type: ignore[arg-type]
    )
    result = cramped.run(SilentProgress())
    assert "computed again" in result.warnings[-1] and len(result.warnings) == 3
    assert _same_gradients(plain, cramped)


def test_when_nothing_is_left_the_error_tells_what_was_tried(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_above(monkeypatch, "_train_generator", lambda game, size: False)
    with pytest.raises(MemoryBudgetError, match="computed again"):
        make(max_steps=1, batch_size=2).run(SilentProgress())


def test_other_errors_go_on_unchanged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*values: Any) -> Any:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(GanStep, "_train_generator", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        make(max_steps=1).run(SilentProgress())


def test_a_rehearsal_finds_passes_that_fit_and_changes_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = make()
    before = [p.detach().clone() for p in fitting.networks.generator.parameters()]
    with monkeypatch.context() as patched:
        _fail_above(patched, "_train_generator", lambda game, size: size <= 2)
        fitting.passes.rehearse()
    assert (fitting.passes.plan.size, fitting.passes.plan.parts) == (2, 2)
    assert "rehearsed" in fitting.passes.notes[0]
    after = fitting.networks.generator.parameters()
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, after, strict=True))
    moments = fitting.state.players["generator"].optimizer.state.values()
    assert all(not value.any() for values in moments for value in values.values())


def test_smaller_passes_hold_the_same_slices() -> None:
    plan, seen = BatchPlan(100, 6, 1), []
    while plan is not None:
        seen.append((plan.size, plan.parts))
        assert plan.batch(0, 1) == BatchPlan(100, 6, 1).batch(0, 1)
        plan = smaller(plan)  # type: ignore[assignment]
    assert seen == [(6, 1), (3, 2), (2, 3), (1, 6)]


@pytest.mark.parametrize(
    ("fits", "by_memory", "size"), [(64, 64, 8), (3, 64, 2), (64, 5, 5), (64, 1, 2)]
)
def test_an_automatic_batch_grows_into_the_memory_that_is_left(
    make: Make, monkeypatch: pytest.MonkeyPatch, fits: int, by_memory: int, size: int
) -> None:
    """Bounded by what fits, by the memory model, and by the steps of an epoch (8 of 64 clips)."""
    monkeypatch.setattr("rvc_colab.training.passes.EPOCH_STEPS", 8)
    fitting = make(batch_size=2, clips=64)
    plan = dataclasses.replace(fitting.machine.plan, batch_size_by_memory=by_memory)
    fitting.machine.plan = plan
    _fail_above(monkeypatch, "_train_discriminator", lambda game, size: size <= fits)
    fitting.passes.rehearse(grow=True)
    assert (fitting.plan.size, fitting.plan.parts) == (size, 1)
    assert not fitting.passes.notes


def test_no_step_makes_moments(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fitting, made = make(max_steps=1), []
    monkeypatch.setattr(torch, "zeros_like", lambda *values, **options: made.append(values))
    for player in fitting.state.players.values():
        for parameter in player.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        player.optimizer.step()
        states = player.optimizer.state.values()
        assert all(float(state["step"]) == 1 and state["exp_avg"].any() for state in states)
    assert not made


def test_a_resumed_run_keeps_its_automatic_batch(make: Make) -> None:
    """The machine's plan says 4 now; the run was begun with 6."""
    old, new = make(batch_size=6, max_steps=2), make(batch_size=4, max_steps=4)
    old.run(SilentProgress())
    new.config = new.config.model_copy(update={"batch_size": None})
    new.snapshots = old.snapshots
    assert new.resume()
    assert (new.plan.size, new.plan.parts, new.plan.global_size) == (3, 2, 6)


def test_another_batch_size_is_taken_and_said(make: Make) -> None:
    old, new = make(batch_size=2, max_steps=2), make(batch_size=4, max_steps=4)
    old.run(SilentProgress())
    new.snapshots = old.snapshots
    new.resume()
    assert new.plan.global_size == 4
    assert "The batch was 2 slices, now it is 4." in new.run(SilentProgress()).warnings


def test_a_device_of_its_own_for_the_data_gives_the_same_numbers(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, apart = make(max_steps=2), make(max_steps=2, buffer_size=2, model_start_delay=0.2)
    expected = plain.run(SilentProgress()).losses
    apart.machine.devices = Devices(torch.device("cpu"), torch.device("cpu", 0))
    waited: list[float] = []
    fill = Buffered.fill

    def timed(self: Buffered, *values: Any) -> None:
        begun = time.monotonic()
        fill(self, *values)
        waited.append(time.monotonic() - begun)

    monkeypatch.setattr(Buffered, "fill", timed)
    assert apart.run(SilentProgress()).losses == expected
    assert len(waited) == 1 and waited[0] >= 0.2


def test_a_run_leaves_no_thread_behind(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*values: Any) -> Any:
        raise ValueError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(GanStep, "step", broken)
        with pytest.raises(ValueError, match="broken"):
            make(max_steps=2).run(SilentProgress())
    make(max_steps=1).run(SilentProgress())
    assert not [t for t in threading.enumerate() if t.name == "training-input"]


def test_what_does_not_compile_runs_uncompiled(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def refusing(function: Any, **options: Any) -> Any:
        def call(*values: Any) -> Any:
            raise BackendCompilerFailed(refusing, ValueError("no compiler here"), None)

        return call

    expected = make(max_steps=1).run(SilentProgress()).losses
    monkeypatch.setattr(torch, "compile", refusing)
    result = make(max_steps=1, compile=True).run(SilentProgress())
    assert result.losses == expected
    assert any("uncompiled" in note for note in result.warnings)
