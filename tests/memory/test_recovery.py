"""The ladder: which steps, in which order, how often, and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from simulated_memory import MIB, SimulatedDevice, SimulatedFamily

from rvc_colab.config import GpuConfig
from rvc_colab.errors import AudioError, Cancelled, MemoryBudgetError
from rvc_colab.memory.families import Families
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.recovery import (
    Effort,
    RecoveryActions,
    ladder,
    memory_context,
    memory_optimized,
    with_recovery,
)

NORMAL = Effort()
OUT = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture
def device() -> SimulatedDevice:
    return SimulatedDevice(300 * MIB)


@pytest.fixture
def manager(device: SimulatedDevice) -> ModelManager:
    family = SimulatedFamily(device, {"m0": 100 * MIB, "m1": 100 * MIB})
    config = GpuConfig(max_memory_usage_percent=100)
    return ModelManager(Families([family]), device, config)


class Worker:
    """Work that runs out of memory until it is asked for little enough."""

    def __init__(self, enough) -> None:
        self.enough, self.efforts = enough, []

    def __call__(self, effort: Effort) -> str:
        self.efforts.append(effort)
        if not self.enough(self, effort):
            raise RuntimeError(str(OUT))
        return "done"


def test_without_trouble_nothing_is_given_up(manager) -> None:
    outcome = with_recovery(Worker(lambda w, e: True), manager)
    assert (outcome.value, outcome.steps) == ("done", ())


def test_the_ladder_goes_down_in_order(manager) -> None:
    manager.load("sim:m0")
    outcome = with_recovery(Worker(lambda w, e: e.device == "cpu"), manager)
    assert outcome.steps == (
        "emptied the caches",
        "unloaded sim:m0 on cuda:0",
        "chunks of 0.5 times the usual length",
        "chunks of 0.25 times the usual length",
        "chunks of 0.125 times the usual length",
        "half precision",
        "the CPU instead",
    )


def test_a_step_with_nothing_to_do_is_left_out(manager) -> None:
    outcome = with_recovery(Worker(lambda w, e: e.chunk_scale < 1), manager)
    assert outcome.steps == ("emptied the caches", "chunks of 0.5 times the usual length")


def test_the_first_retry_asks_for_the_same_effort(manager) -> None:
    worker = Worker(lambda w, e: len(w.efforts) == 2)
    with_recovery(worker, manager)
    assert worker.efforts == [Effort(), Effort()]


def test_at_the_end_the_error_tells_every_step(manager) -> None:
    with pytest.raises(MemoryBudgetError, match="out of memory.*half precision; the CPU instead"):
        with_recovery(Worker(lambda w, e: False), manager)


def test_retries_are_bounded(manager) -> None:
    worker = Worker(lambda w, e: False)
    with pytest.raises(MemoryBudgetError):
        with_recovery(worker, manager, retries=2)
    assert len(worker.efforts) == 3


def test_every_step_is_logged(manager, caplog) -> None:
    with_recovery(Worker(lambda w, e: e.half_precision), manager)
    assert "half precision" in caplog.text and "Tried to allocate" in caplog.text


def test_a_refusal_by_the_budget_is_answered_too(manager) -> None:
    def run(effort: Effort) -> str:
        if effort.device != "cpu":
            raise MemoryBudgetError("voice:a needs 9 GB")
        return "done"

    assert with_recovery(run, manager).effort.device == "cpu"


@pytest.mark.parametrize("error", [ValueError("wrong"), Cancelled()])
def test_other_errors_and_stop_requests_go_on_unchanged(manager, error) -> None:
    def run(effort: Effort) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        with_recovery(run, manager)
    assert caught.value is error


def test_a_persons_own_action_answers_its_error_class(manager) -> None:
    actions = RecoveryActions()
    repaired = []
    actions.register(AudioError, lambda error, effort: repaired.append(error) or True)

    def run(effort: Effort) -> str:
        if not repaired:
            raise AudioError("no such file")
        return "done"

    outcome = with_recovery(run, manager, actions)
    assert outcome.value == "done" and "AudioError answered by" in outcome.steps[0]


def test_a_persons_own_action_comes_before_the_ladder(manager) -> None:
    actions = RecoveryActions()
    actions.register(RuntimeError, lambda error, effort: Effort(chunk_scale=0.3))
    worker = Worker(lambda w, e: e.chunk_scale == 0.3)
    with_recovery(worker, manager, actions)
    assert len(worker.efforts) == 2


def test_an_action_that_always_says_again_is_bounded(manager) -> None:
    actions = RecoveryActions()
    calls = []
    actions.register(ValueError, lambda error, effort: calls.append(1) or True)

    def run(effort: Effort) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        with_recovery(run, manager, actions, retries=3)
    assert len(calls) == 3


def test_a_failing_action_leaves_the_word_to_the_next(manager) -> None:
    actions = RecoveryActions()
    actions.register(MemoryError, lambda error, effort: 1 / 0)
    actions.register(Exception, lambda error, effort: Effort(device="cpu"))

    def run(effort: Effort) -> str:
        if effort.device != "cpu":
            raise MemoryError
        return "done"

    assert with_recovery(run, manager, actions).value == "done"


def test_an_action_can_be_taken_back(manager) -> None:
    actions = RecoveryActions()
    actions.register(ValueError, lambda error, effort: True)()
    assert actions.answer(ValueError(), Effort()) is None


@dataclass
class Answer:
    warnings: list[str] = field(default_factory=list)


def test_the_decorator_hands_the_effort_in_and_writes_the_steps_into_the_result(manager) -> None:
    @memory_optimized(manager)
    def convert(name: str, effort: Effort = NORMAL) -> Answer:
        if effort.chunk_scale == 1:
            raise MemoryError
        return Answer([name])

    assert convert("song").warnings == [
        "song",
        "Memory ran out: tried again with emptied the caches.",
        "Memory ran out: tried again with chunks of 0.5 times the usual length.",
    ]


def test_a_function_without_effort_is_only_run_again_where_that_can_help(manager) -> None:
    calls = []

    @memory_optimized(manager)
    def work() -> None:
        calls.append(1)
        raise MemoryError

    with pytest.raises(MemoryBudgetError):
        work()
    assert len(calls) == 2


def test_a_context_above_its_threshold_begins_by_cleaning(manager, device) -> None:
    manager.load("sim:m0")
    manager.load("sim:m1")
    with memory_context(threshold=50, manager=manager) as context:
        assert device.held["cuda:0"] == 0
    assert context.steps[:2] == [
        "emptied the caches",
        "unloaded sim:m0 on cuda:0, sim:m1 on cuda:0",
    ]


def test_a_context_below_its_threshold_leaves_models_alone(manager) -> None:
    manager.load("sim:m0")
    with memory_context(threshold=50, manager=manager) as context:
        pass
    assert context.steps == [] and len(manager.loaded()) == 1


def test_out_of_memory_inside_a_context_speaks(manager) -> None:
    manager.load("sim:m0")
    refused = pytest.raises(MemoryBudgetError, match="Memory ran out.*unloaded sim:m0")
    with refused, memory_context(manager=manager):
        raise RuntimeError(str(OUT))


def test_a_context_collects_the_steps_of_functions_inside(manager) -> None:
    @memory_optimized(manager)
    def work(effort: Effort = NORMAL) -> None:
        if effort.chunk_scale == 1:
            raise MemoryError

    with memory_context(manager=manager) as context:
        work()
    assert context.steps == ["emptied the caches", "chunks of 0.5 times the usual length"]


@pytest.mark.parametrize(
    ("kind", "half", "last"),
    [("cuda", False, Effort(device="cpu")), ("cuda", True, Effort(device="cpu"))]
    + [("cpu", False, Effort(0.125, half_precision=True)), ("cpu", True, Effort(0.125))],
)
def test_nothing_is_given_up_that_is_not_there(manager, kind, half, last) -> None:
    worker = Worker(lambda w, e: False)
    with pytest.raises(MemoryBudgetError) as error:
        with_recovery(worker, manager, rungs=ladder(kind, half))
    assert worker.efforts[-1] == last
    assert ("half precision" in error.value.message) == (not half)


def test_later_work_begins_where_the_first_ended(manager) -> None:
    first = with_recovery(Worker(lambda w, e: e.chunk_scale < 1), manager)
    worker = Worker(lambda w, e: True)
    second = with_recovery(worker, manager, effort=first.effort)
    assert worker.efforts == [Effort(0.5)] and second.steps == ()
