"""Run training in several processes of this machine, from a shell, a page or a notebook.

Each process is a fresh Python with the variables that `accelerate launch` would set, so the same
code runs under both. What fails in a process fails here, with that process's traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.config import TrainingConfig
from rvc_colab.device import choose_device, cuda_count, cuda_name
from rvc_colab.errors import DeviceError, RVCError, TrainingError
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.workspace import Workspace

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from rvc_colab.training.recipe import TrainingResult

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5  # between two looks at the children


def processes_for(config: TrainingConfig) -> int:
    """Count the processes to start: as asked, else one for each GPU like the first one.

    One where something else has started several, or where two GPUs share the work otherwise.
    Raises DeviceError when more GPUs are asked for than there are.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
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

    `function` must be importable. The progress of the first process is drawn by `progress`; when
    that one is cancelled, all are asked to stop. Raises TrainingError when a process fails: the
    others are ended, and its traceback is in the log and in the error's cause.
    """
    import torch.multiprocessing as multiprocessing
    from torch.multiprocessing.spawn import ProcessException

    progress = progress or SilentProgress()
    events = multiprocessing.get_context("spawn").SimpleQueue()
    place = _Place(processes, _free_port(), on_cpu, max(1, (os.cpu_count() or 1) // processes))
    context = multiprocessing.start_processes(
        _child, (function, tuple(arguments), place, events), processes, False, False, "spawn"
    )
    asked, results = False, list[Any]()
    try:
        while not context.join(timeout=_LOOK_SECONDS):
            _draw(events, progress, results)
            if progress.cancelled and not asked:
                asked = True
                _end(context.pids(), signal.SIGTERM)
    except ProcessException as error:
        raise _failure(error, processes) from error
    finally:
        _end([p.pid for p in context.processes if p.is_alive()], signal.SIGTERM)
    _draw(events, progress, results)
    return results[0] if results else None


class _Place:
    """Where the processes meet, and how many threads each takes."""

    def __init__(self, processes: int, port: int, on_cpu: bool, threads: int) -> None:
        self.processes, self.port, self.on_cpu, self.threads = processes, port, on_cpu, threads

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
    try:
        result = function(*arguments, _Reported(events) if rank == 0 else SilentProgress())
        if rank == 0:
            events.put(("result", result))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


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


def _draw(events: SimpleQueue[Any], progress: Progress, results: list[Any]) -> None:
    while not events.empty():
        kind, *values = events.get()
        if kind == "result":
            results += values
        else:
            getattr(progress, kind)(*values)


def _end(processes: Sequence[int | None], number: int) -> None:
    for process in processes:
        if process is not None:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue


def _failure(error: Any, processes: int) -> RVCError:
    """Make the parent's error of a child's; its traceback goes to the log."""
    told = str(error).strip()
    _log.error("Process %d of %d failed:\n%s", error.error_index + 1, processes, told)
    last = told.splitlines()[-1] if told else type(error).__name__
    return TrainingError(
        f"Process {error.error_index + 1} of {processes} failed: {last}",
        "The run goes on from its last snapshot when it is started again.",
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
