"""Run training in several processes of this machine, from a shell, a page or a notebook.

Each process is a fresh Python with the variables that `accelerate launch` would set, so the same
code runs under both. What fails in a process fails here, with that process's traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.config import TrainingConfig
from rvc_colab.device import choose_device, cuda_count, cuda_name
from rvc_colab.errors import DeviceError, RVCError, TrainingError
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.training.agreement import EndedWithAnother
from rvc_colab.workspace import Workspace

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from rvc_colab.training.recipe import TrainingResult

_log = logging.getLogger(__name__)

LAUNCHED_ALONE = (
    "accelerate launch starts one process on a CPU, whatever --num_processes says: give "
    "--processes 2 instead, or start with torchrun --nproc_per_node 2."
)
STOP = getattr(signal, "SIGUSR1", signal.SIGINT)
_LOOK_SECONDS = 0.5  # between two looks at the children


def processes_for(config: TrainingConfig) -> int:
    """Count the processes to start: as asked, else one for each GPU like the first one.

    One where something else has started several, or where two GPUs share the work otherwise.
    Raises DeviceError when more GPUs are asked for than there are.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
    if _launched_alone():
        _log.warning("%s", LAUNCHED_ALONE)
    if config.processes == 1 or config.data_gpu is not None or config.model_gpu is not None:
        return 1
    on_gpus = config.device in ("auto", "cuda", "rocm") and cuda_count() > 0
    if config.processes is None:
        if not on_gpus:
            return 1
        return sum(cuda_name(index) == cuda_name(0) for index in range(cuda_count()))
    if on_gpus and config.processes > cuda_count():
        raise DeviceError(
            f"{config.processes} processes were asked for, but there are {cuda_count()} GPUs.",
            "Give --processes that many at most, or --device cpu.",
        )
    if not on_gpus and choose_device(config.device).device.type != "cpu":
        raise DeviceError(
            f"{config.processes} processes cannot share the device {config.device}.",
            "Leave --processes out.",
        )
    return config.processes


def _launched_alone() -> bool:
    """Tell whether `accelerate launch` was asked for several processes and, on a CPU, began one."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"true", "1"}
    return on_cpu and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ


def train_in_processes(
    name: str,
    folder: str | Path,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress,
    processes: int,
) -> TrainingResult:
    """Train a voice in several processes of this machine; `recipe.train` otherwise.

    A stop request reaches all of them, and they save before they end.
    """
    alone = config.model_copy(update={"processes": 1})
    arguments = (name, str(folder), alone, str(workspace.root))
    result: TrainingResult = launch(_train, arguments, processes, progress, _on_cpu(config))
    return result


def _train(
    name: str, folder: str, config: TrainingConfig, root: str, progress: Progress
) -> TrainingResult:
    from rvc_colab.training import recipe

    return recipe.train(name, folder, config, Workspace(Path(root)), progress)


def _on_cpu(config: TrainingConfig) -> bool:
    return choose_device(config.device).device.type == "cpu"


def launch(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    processes: int,
    progress: Progress | None = None,
    on_cpu: bool = True,
) -> Any:
    """Call `function(*arguments, progress)` in several processes; return the first one's result.

    `function` must be importable. What the first process reports and logs is drawn and logged here;
    when `progress` is cancelled, all are asked to stop. When a process fails, the others are ended
    and its RVCError is raised here. For any other error that is a TrainingError, with the traceback
    in the log and in the error's cause.
    """
    import torch.multiprocessing as multiprocessing
    from torch.multiprocessing.spawn import ProcessException

    progress = progress or SilentProgress()
    events = multiprocessing.get_context("spawn").SimpleQueue()
    threads, level = max(1, (os.cpu_count() or 1) // processes), _log.getEffectiveLevel()
    place = _Place(processes, _free_port(), on_cpu, threads, level)
    context = multiprocessing.start_processes(
        _child, (function, tuple(arguments), place, events), processes, False, False, "spawn"
    )
    asked, told = False, _Told()
    try:
        while not context.join(timeout=_LOOK_SECONDS):
            told.draw(events, progress)
            if progress.cancelled and not asked and told.listening == processes:
                asked = True
                _end(context.pids(), STOP)
    except ProcessException as error:
        told.draw(events, progress)
        raise _failure(error, told.root, processes) from error
    finally:
        _end([p.pid for p in context.processes if p.is_alive()], signal.SIGTERM)
    told.draw(events, progress)
    return told.result


@dataclass(frozen=True)
class _Place:
    """Where the processes meet, how many threads each takes, and what is logged."""

    processes: int
    port: int
    on_cpu: bool
    threads: int
    level: int

    def variables(self, rank: int) -> dict[str, str]:
        """Return what `accelerate launch` would set for a process."""
        named = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": self.processes,
            "LOCAL_WORLD_SIZE": self.processes,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": self.port,
        }
        if self.on_cpu:
            named["ACCELERATE_USE_CPU"] = "true"
        return {name: str(value) for name, value in named.items()}


def _child(
    rank: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    place: _Place,
    events: SimpleQueue[Any],
) -> None:
    import torch

    if hasattr(os, "setsid"):
        os.setsid()  # a Ctrl-C in the terminal reaches the parent, which asks once
    os.environ.update(place.variables(rank))
    if place.on_cpu and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(place.threads)
    progress = _Reported(events) if rank == 0 else SilentProgress()
    for number in (STOP, signal.SIGINT):  # this one comes when the parent dies: torch asks for it
        signal.signal(number, lambda *_: progress.cancel())
    logger = logging.getLogger("rvc_colab")
    logger.setLevel(place.level if rank == 0 else logging.CRITICAL)
    if rank == 0:
        logger.addHandler(_Forwarded(events))
        logger.propagate = False
    try:
        events.put(("listening",))
        result = function(*arguments, progress)
        if rank == 0:
            events.put(("result", result))
    except Exception as error:  # told before this process ends, and with it the talk of all
        own = error if isinstance(error, RVCError) else None
        events.put(("failed", _Failed(rank, own, traceback.format_exc())))
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    # All is written and told. A thread of the exchange (gloo, NCCL) that meets an interpreter being
    # taken down can abort the process, and its work would count as failed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class _Reported(SilentProgress):
    """Send what is reported to the parent."""

    def __init__(self, events: SimpleQueue[Any]) -> None:
        super().__init__()
        self._events = events

    def stage(self, name: str, total: int | None = None) -> None:
        """Send the beginning of a stage."""
        self._events.put(("stage", name, total))

    def advance(self, units: int = 1, note: str = "") -> None:
        """Send that some units are done."""
        self._events.put(("advance", units, note))


class _Forwarded(logging.Handler):
    """Send what is logged to the parent, as text."""

    def __init__(self, events: SimpleQueue[Any]) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._events.put(("log", record.name, record.levelno, record.getMessage()))


@dataclass(frozen=True)
class _Failed:
    """How a process failed; `error` is None for what was not foreseen."""

    process: int
    error: RVCError | None
    traceback: str


class _Told:
    """What the processes told: the first one's result, and who failed and how."""

    def __init__(self) -> None:
        self.listening, self.result = 0, None
        self.failures: list[_Failed] = []

    @property
    def root(self) -> _Failed | None:
        """Return the failure that came before all others."""
        own = [each for each in self.failures if not isinstance(each.error, EndedWithAnother)]
        return next(iter(own or self.failures), None)

    def draw(self, events: SimpleQueue[Any], progress: Progress) -> None:
        """Take in what was told, and draw and log what is for people."""
        while not events.empty():
            kind, *values = events.get()
            if kind == "result":
                self.result = values[0]
            elif kind == "listening":
                self.listening += 1
            elif kind == "failed":
                self.failures += values
            elif kind == "log":
                logging.getLogger(values[0]).log(values[1], "%s", values[2])
            else:
                getattr(progress, kind)(*values)


def _end(processes: Sequence[int | None], number: int) -> None:
    for process in processes:
        if process is not None:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue


def _failure(error: Any, root: _Failed | None, processes: int) -> RVCError:
    """Make the parent's error of a child's; the traceback of an unforeseen one goes to the log."""
    if root is not None and root.error is not None:
        return root.error
    process = error.error_index if root is None else root.process
    who, hint = f"Process {process + 1} of {processes}", "It goes on from the last snapshot."
    if root is None and (name := getattr(error, "signal_name", None)):
        words = f"{who} was ended by {name}"
        if name == "SIGKILL":
            words += ": most often the system does so when the memory runs out"
        return TrainingError(f"{words}.", f"Run the same command again. {hint}")
    told = str(error).strip() if root is None else root.traceback.strip()
    _log.error("%s failed:\n%s", who, told)
    last = told.splitlines()[-1] if told else type(error).__name__
    return TrainingError(f"{who} failed: {last}", f"Run the same command again. {hint}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
