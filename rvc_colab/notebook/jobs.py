"""Long work as a background job: a child process that dies with the notebook, seen through files.

A job is a folder: `request.json` (what was asked), `state.json` (what the worker tells, replaced
whole), `log.txt` (its last words). Whoever reads the folder sees the job: the cell that started it,
another cell after the page was reloaded, or a new kernel after the old one died.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rvc_colab.errors import NotebookError
from rvc_colab.notebook.command import Child
from rvc_colab.workspace import Workspace, write_atomically

# Stop and the death of the kernel leave so much time for the last snapshot.
GRACE_SECONDS = 25.0
POLL_SECONDS = 0.3
KEEP_JOBS = 20
KILLED = {-9, 137, 247}  # by signal 9: as Python, the shell and an exit code tell it
WORKER = ("-m", "rvc_colab.notebook.worker")
LAST_BYTES = 8192
STATE, REQUEST, LOG, GUARD, STOP = "state.json", "request.json", "log.txt", "guard.json", "stop"
STARTING, RUNNING, STOPPING = "starting", "running", "stopping"
DONE, STOPPED, FAILED, LOST = "done", "stopped", "failed", "lost"

# The programs of this kernel by job folder: a supervisor ends its program when its pipe closes.
_children: dict[Path, Child] = {}


@dataclass(frozen=True)
class JobState:
    """What is known of a job. `total` is None where unknown; times in Unix seconds."""

    verb: str = ""
    title: str = ""
    status: str = STARTING
    pid: int = 0
    begun: float = 0.0
    updated: float = 0.0
    stage: str = ""
    done: int = 0
    total: int | None = None
    eta_seconds: float | None = None
    note: str = ""
    history: str = ""  # the run's numbers, one JSON line each
    result: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    hint: str = ""

    @property
    def finished(self) -> bool:
        """Tell whether nothing more will happen."""
        return self.status in {DONE, STOPPED, FAILED, LOST}

    @property
    def share(self) -> float | None:
        """Return how much of the stage is done, 0 to 1; None where unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    def in_words(self) -> str:
        """Say in a line or two where the job stands."""
        if self.status in {FAILED, LOST}:
            return f"{self.title}: {self.message}\n{self.hint}".strip()
        if self.finished:
            words = "stopped, everything up to here is saved" if self.status == STOPPED else "done"
            return f"{self.title}: {words}" + (f". {self.message}" if self.message else "")
        if not self.stage:
            return f"{self.title}: {self.status}"
        count = f" {self.done}/{self.total}" if self.total else f" {self.done}" * bool(self.done)
        left = "" if self.eta_seconds is None else f", about {clock(self.eta_seconds)} left"
        ending = " (stopping: saves first)" if self.status == STOPPING else ""
        return f"{self.title}: {self.stage}{count}{left}{ending}" + f"  {self.note}" * bool(
            self.note
        )


def clock(seconds: float) -> str:
    """Write a time span as m:ss or h:mm:ss."""
    hours, rest = divmod(int(seconds), 3600)
    minutes = f"{rest // 60:02d}" if hours else str(rest // 60)
    return (f"{hours}:" if hours else "") + f"{minutes}:{rest % 60:02d}"


class Job:
    """A view of one job's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def start(
        cls,
        verb: str,
        arguments: Mapping[str, Any],
        settings: Mapping[str, Any],
        workspace: Workspace,
        processes: int | None = None,
    ) -> Job:
        """Start `convert` or `train` in a process of its own and return at once.

        `arguments` are those of the verb in `rvc_colab.api`, `settings` its config fields;
        `processes` trains on so many GPUs, where the settings do not say it.
        """
        folder = _new_folder(workspace, verb)
        request = {
            "verb": verb,
            "arguments": dict(arguments),
            "settings": dict(settings),
            "workspace": str(workspace.root),
            "processes": processes,
        }
        write_json(folder / REQUEST, request)
        title = _title(verb, arguments)
        write_state(folder, JobState(verb, title, begun=time.time(), updated=time.time()))
        child = Child(
            [sys.executable, "-P", *WORKER, str(folder)],
            environment(),
            GRACE_SECONDS,
        )
        _children[folder] = child
        write_json(folder / GUARD, {"pid": child.pid, "mark": _mark(child.pid)})
        return cls(folder)

    @classmethod
    def attach(cls, workspace: Workspace, verb: str | None = None) -> Job | None:
        """Return the latest job (of a verb) of this workspace, None when there is none."""
        for folder in reversed(_folders(workspace)):
            if verb is None or folder.name.endswith(f"-{verb}"):
                return cls(folder)
        return None

    def state(self) -> JobState:
        """Read where the job stands; a process that ended without a word is told as `lost`."""
        state = read_state(self.folder)
        if state.finished or (alive := self._alive()) is None:
            return state
        asked = (self.folder / STOP).exists()
        if alive:
            return _with(state, status=STOPPING) if asked else state
        state = read_state(self.folder)  # its last word may have come in between
        if state.finished:
            return state
        return _with(state, status=STOPPED) if asked else _with(state, **self._obituary())

    def request(self) -> dict[str, Any]:
        """Return what was asked."""
        return read_json(self.folder / REQUEST)

    def log(self, lines: int = 8) -> list[str]:
        """Return the last lines of the worker's log."""
        try:
            with (self.folder / LOG).open("rb") as handle:
                handle.seek(0, os.SEEK_END)
                handle.seek(max(0, handle.tell() - LAST_BYTES))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            text = ""
        child = _children.get(self.folder)
        found = text.splitlines() or ([*child.lines] if child else [])
        return [line for line in found if line.strip()][-lines:]

    def losses(self, points: int = 200) -> list[dict[str, float]]:
        """Return the run's numbers by step, thinned to at most so many rows; newest last."""
        path = read_state(self.folder).history
        rows: list[dict[str, float]] = []
        if path:
            with contextlib.suppress(OSError):
                for line in Path(path).read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError):
                        rows.append(json.loads(line))
        pace = max(1, -(-len(rows) // points))
        return rows[(len(rows) - 1) % pace :: pace]

    def stop(self) -> None:
        """Ask the job to stop: it finishes its step, saves, and ends. Returns at once."""
        state = self.state()
        if state.finished:
            return
        (self.folder / STOP).touch()
        guard = int(read_json(self.folder / GUARD).get("pid", 0))
        if target := state.pid or guard:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGTERM)

    def wait(
        self, seconds: float | None = None, watch: Callable[[JobState], None] | None = None
    ) -> JobState:
        """Wait until the job has finished (or `seconds` are over), showing each look to `watch`.

        An interrupt leaves the waiting, not the job.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            state = self.state()
            if watch:
                watch(state)
            if state.finished or (end is not None and time.monotonic() >= end):
                return state
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End the job at once, without saving: for tests and for one that hangs."""
        if child := _children.pop(self.folder, None):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            child.stop()

    def _alive(self) -> bool | None:
        """Tell whether the supervisor runs; None in the moment before it is noted."""
        if child := _children.get(self.folder):
            return child.running
        guard = read_json(self.folder / GUARD)
        if not guard:
            return None if time.time() - read_state(self.folder).begun < 10 else False
        return bool(guard["mark"]) and _mark(int(guard["pid"])) == guard["mark"]

    def _obituary(self) -> dict[str, Any]:
        child, resume = _children.get(self.folder), "Run the cell again"
        if read_state(self.folder).verb == "train":
            resume += ": it goes on from the last snapshot"
        if child is None:
            message = "The notebook's kernel ended, and the job with it."
        elif child.code in KILLED:
            message = "The system ended the job, most often because the memory ran out."
        else:
            last = self.log(1)
            message = f"The job ended without a result (code {child.code})"
            message += f": {last[0]}" if last else "."
        return {
            "status": LOST,
            "message": message,
            "hint": f"{resume}. The log: {self.folder / LOG}",
        }


def running(workspace: Workspace, verb: str, **arguments: Any) -> Job | None:
    """Return the job of this verb with these arguments that is still at work, if any."""
    for folder in reversed(_folders(workspace)):
        job = Job(folder)
        if not folder.name.endswith(f"-{verb}") or job.state().finished:
            continue
        asked = job.request().get("arguments", {})
        if all(asked.get(key) == value for key, value in arguments.items()):
            return job
    return None


def environment() -> dict[str, str]:
    """Return the environment for a child: this package importable, output unbuffered."""
    package = str(Path(__file__).absolute().parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    # The kernel's inline backend of matplotlib does not exist outside of it.
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"}


def read_state(folder: Path) -> JobState:
    """Read a job's state as the worker wrote it last."""
    content = read_json(folder / STATE)
    if not content:
        raise NotebookError(f"The job {folder.name} has no readable state.", "Start it again.")
    known = {f.name for f in fields(JobState)}
    return JobState(**{key: value for key, value in content.items() if key in known})


def write_state(folder: Path, state: JobState) -> None:
    """Replace a job's state."""
    write_json(folder / STATE, asdict(state))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty when it is not there or not readable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file whole."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, default=str), encoding="utf-8")


def _with(state: JobState, **changes: Any) -> JobState:
    return JobState(**{**asdict(state), **changes})


def _title(verb: str, arguments: Mapping[str, Any]) -> str:
    if verb == "train":
        return f"Training {arguments.get('name', '')}"
    return f"Converting {Path(str(arguments.get('source', ''))).name} into {arguments.get('voice')}"


def _jobs(workspace: Workspace) -> Path:
    return workspace.cache / "jobs"


def _folders(workspace: Workspace) -> list[Path]:
    found = [path for path in _jobs(workspace).glob("*-*") if (path / STATE).is_file()]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def _new_folder(workspace: Workspace, verb: str) -> Path:
    for old in _folders(workspace)[: -KEEP_JOBS + 1]:
        if Job(old).state().finished:
            shutil.rmtree(old, ignore_errors=True)
            _children.pop(old, None)
    folder = _jobs(workspace) / f"{time.time_ns()}-{verb}"
    folder.mkdir(parents=True)
    return folder


def _mark(pid: int) -> str:
    """Return what tells this process from a later one of the same number; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _mark_without_proc(pid)
    after = text.rpartition(")")[2].split()
    return "" if after[0] in "ZX" else f"{boot} {after[19]}"


def _mark_without_proc(pid: int) -> str:
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return str(pid)
