"""Give way when memory runs out: step by step, each step logged and in the result, then give up.

    @memory_optimized()
    def convert(wave, effort=Effort()):
        frames = int(BLOCK * effort.chunk_scale)
        ...

The ladder: empty the caches, evict idle models, smaller chunks, half precision, the CPU. A
function without a parameter `effort` can only profit from the first two rungs.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from rvc_colab.errors import Cancelled, MemoryBudgetError
from rvc_colab.memory.devices import CPU, Devices
from rvc_colab.memory.exhaustion import is_out_of_memory, release_frames

_log = logging.getLogger(__name__)

MAX_RETRIES = 8
SMALLER, SMALLEST = 0.5, 0.125  # of the usual chunk
Result = TypeVar("Result")


@dataclass(frozen=True)
class Effort:
    """How modestly to work: `chunk_scale` of the usual chunk; `device` None: as asked."""

    chunk_scale: float = 1.0
    half_precision: bool = False
    device: str | None = None


@dataclass(frozen=True)
class Recovered(Generic[Result]):
    """A result, and what was given up for it: one sentence per step."""

    value: Result
    steps: tuple[str, ...] = ()
    effort: Effort = Effort()


class Giver(Protocol):
    """What recovery needs of a manager."""

    @property
    def devices(self) -> Devices:
        """The devices whose caches are emptied."""

    def evict_idle(self) -> list[str]:
        """Evict idle models and return their names."""


Action = Callable[[BaseException, Effort], Effort | bool | None]
Rung = Callable[[Effort, "Giver | None"], "tuple[Effort, str] | None"]


class RecoveryActions:
    """A person's own answers to errors, by class. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[tuple[type[BaseException], Action]] = []

    def register(self, kind: type[BaseException], action: Action) -> Callable[[], None]:
        """Ask `action(error, effort)` when an error of this class ends an attempt.

        It returns the effort to try again with, True for the same effort, or None or False when
        it has no answer. The nearest class is asked first. Returns a function that takes it back.
        """
        item = (kind, action)
        with self._lock:
            self._actions.append(item)

        def remove() -> None:
            with self._lock:
                if item in self._actions:
                    self._actions.remove(item)

        return remove

    def answer(self, error: BaseException, effort: Effort) -> tuple[Effort, str] | None:
        """Return the effort of the first action that has an answer; a failing action has none."""
        with self._lock:
            near = [item for item in self._actions if isinstance(error, item[0])]
        order = type(error).__mro__
        for _, action in sorted(near, key=lambda item: order.index(item[0])):
            try:
                answer = action(error, effort)
            except Exception:
                _log.warning("The recovery action %r failed.", action, exc_info=True)
                continue
            if answer:
                chosen = answer if isinstance(answer, Effort) else effort
                name = getattr(action, "__name__", repr(action))
                return chosen, f"{type(error).__name__} answered by {name}"
        return None


def _empty_caches(effort: Effort, manager: Giver | None) -> tuple[Effort, str] | None:
    if manager is None:
        from rvc_colab.memory.devices import MachineDevices

        MachineDevices().empty_caches()
    else:
        manager.devices.empty_caches()
    return effort, "emptied the caches"


def _evict_idle(effort: Effort, manager: Giver | None) -> tuple[Effort, str] | None:
    names = manager.evict_idle() if manager is not None else []
    return (effort, f"unloaded {', '.join(names)}") if names else None


def _smaller_chunks(effort: Effort, manager: Giver | None) -> tuple[Effort, str] | None:
    scale = effort.chunk_scale * SMALLER
    if scale < SMALLEST:
        return None
    return replace(effort, chunk_scale=scale), f"chunks of {scale:g} times the usual length"


def _half_precision(effort: Effort, manager: Giver | None) -> tuple[Effort, str] | None:
    if effort.half_precision or effort.device == CPU:
        return None
    return replace(effort, half_precision=True), "half precision"


def _cpu(effort: Effort, manager: Giver | None) -> tuple[Effort, str] | None:
    if effort.device == CPU:
        return None
    return Effort(device=CPU), "the CPU instead"


# Smaller chunks are tried three times, down to SMALLEST, before precision is given up.
LADDER: tuple[Rung, ...] = (_empty_caches, _evict_idle) + (_smaller_chunks,) * 3 + (
    _half_precision,
    _cpu,
)  # fmt: skip
WITHOUT_EFFORT: tuple[Rung, ...] = (_empty_caches, _evict_idle)


def ladder(device: str, half_precision: bool = False) -> tuple[Rung, ...]:
    """Return the rungs for work on a device (`cuda`, `cpu`…): none that it stands below already."""
    below = ({_half_precision} if half_precision else set()) | ({_cpu} if device == CPU else set())
    return tuple(rung for rung in LADDER if rung not in below)


@dataclass
class _Climb:
    """The state of one recovery: the rungs that are left and what was done."""

    rungs: Sequence[Rung]
    manager: Giver | None
    actions: RecoveryActions
    effort: Effort = field(default_factory=Effort)
    steps: list[str] = field(default_factory=list)

    def next(self, error: BaseException) -> bool:
        """Take the next step for an error; False when there is none."""
        answer = self.actions.answer(error, self.effort)
        if answer is None and (is_out_of_memory(error) or isinstance(error, MemoryBudgetError)):
            answer = self._next_rung()
        if answer is None:
            return False
        self.effort, step = answer
        self.steps.append(step)
        _log.warning("Trying again with %s, since: %s", step, _first_line(error))
        return True

    def _next_rung(self) -> tuple[Effort, str] | None:
        while self.rungs:
            rung, self.rungs = self.rungs[0], self.rungs[1:]
            answer = rung(self.effort, self.manager)
            if answer is not None:
                return answer
        return None


def with_recovery(
    run: Callable[[Effort], Result],
    manager: Giver | None = None,
    actions: RecoveryActions | None = None,
    retries: int = MAX_RETRIES,
    rungs: Sequence[Rung] = LADDER,
    effort: Effort | None = None,
) -> Recovered[Result]:
    """Run `run(effort)`, and again more modestly while memory runs out, at most `retries` times.

    The first run is with `effort`, for example what an earlier one had come down to. Errors
    without an answer go on unchanged; a stop request is never answered. When the ladder ends,
    raises MemoryBudgetError that tells every step taken.
    """
    climb = _Climb(rungs, manager, actions or default_actions(), effort or Effort())
    for attempt in range(1 + retries):
        try:
            return Recovered(run(climb.effort), tuple(climb.steps), climb.effort)
        except Cancelled:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                # First: the rungs can only free what the failed attempt no longer holds.
                release_frames(error)
            if attempt == retries or not climb.next(error):
                if not is_out_of_memory(error):
                    raise
                raise _exhausted(error, climb.steps) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _exhausted(error: Exception, steps: Sequence[str]) -> MemoryBudgetError:
    tried = f" It did not help to try {'; '.join(steps)}." if steps else ""
    return MemoryBudgetError(
        f"Memory ran out: {_first_line(error)}.{tried}",
        "Use a shorter file or smaller batch, close other programs, or choose --device cpu.",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def memory_optimized(
    manager: Giver | None = None,
    actions: RecoveryActions | None = None,
    retries: int = MAX_RETRIES,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorate a function so that it gives way when memory runs out.

    It is called with `effort=Effort(…)` if it takes one. The steps are appended to the result's
    list `warnings`, if it has one, and to the innermost `memory_context`. Without a `manager` the
    process-wide one is used.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        takes_effort = "effort" in inspect.signature(function).parameters

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Result:
            def run(effort: Effort) -> Result:
                more = {"effort": effort} if takes_effort else {}
                return function(*args, **{**kwargs, **more})

            rungs = LADDER if takes_effort else WITHOUT_EFFORT
            outcome = with_recovery(run, manager or _default_giver(), actions, retries, rungs)
            tell_steps(outcome)
            return outcome.value

        return wrapped

    return decorate


def tell_steps(outcome: Recovered[Any]) -> None:
    """Say what was given up, in the result's list `warnings` and the innermost `memory_context`."""
    sentences = [f"Memory ran out: tried again with {step}." for step in outcome.steps]
    warnings = getattr(outcome.value, "warnings", None)
    if isinstance(outcome.value, Mapping):
        warnings = outcome.value.get("warnings")
    if isinstance(warnings, list):
        warnings.extend(sentences)
    context = getattr(_contexts, "innermost", None)
    if context is not None:
        context.steps.extend(outcome.steps)


@dataclass
class MemoryContext:
    """A stretch of work that began with room; `steps` says what was given up for it."""

    steps: list[str] = field(default_factory=list)


_contexts = threading.local()


@contextlib.contextmanager
def memory_context(
    threshold: float = 85.0, manager: Any = None, device: str | None = None
) -> Iterator[MemoryContext]:
    """Begin and end a stretch of work below `threshold` percent of memory in use, if possible.

    Above it caches are emptied, then idle models evicted. When memory runs out inside, the same is
    done and MemoryBudgetError raised: a block cannot be run again, a function can
    (`memory_optimized`). `device` None watches all.
    """
    manager = manager if manager is not None else _default_giver()
    context, outer = MemoryContext(), getattr(_contexts, "innermost", None)
    _contexts.innermost = context
    context.steps += _clean_above(threshold, manager, device)
    try:
        yield context
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        release_frames(error)
        context.steps += _clean_above(0.0, manager, device)
        raise _exhausted(error, context.steps) from error
    finally:
        _contexts.innermost = outer
        context.steps += _clean_above(threshold, manager, device)


def _clean_above(threshold: float, manager: Any, device: str | None) -> list[str]:
    steps = []
    for name in [device] if device else manager.devices.names():
        for rung, words in ((manager.devices.empty_caches, "emptied the caches"), (None, "")):
            room = manager.devices.room(name)
            if not room.total or 100.0 * (room.total - room.free) / room.total < threshold:
                break
            if rung is not None:
                rung()
                steps.append(words)
            elif names := manager.evict_idle(name):
                steps.append(f"unloaded {', '.join(names)}")
    for step in steps:
        _log.info("Above %g %% of memory: %s.", threshold, step)
    return steps


_default_actions = RecoveryActions()


def default_actions() -> RecoveryActions:
    """Return the actions of this process, asked by every recovery that is given no others."""
    return _default_actions


def register_action(kind: type[BaseException], action: Action) -> Callable[[], None]:
    """Register a recovery action for this process; see RecoveryActions.register."""
    return _default_actions.register(kind, action)


def _default_giver() -> Giver:
    from rvc_colab.memory.process import default_manager

    return default_manager()
