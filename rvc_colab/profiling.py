"""Time and memory per stage of a run, as a table and as a Chrome trace (Perfetto reads it).

The public verbs run inside `profiled` when `--profile` or RVC_PROFILING=1 asks for it; the journeys
only say `with stage("content"):`, which costs nothing while no profiler is active.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rvc_colab.workspace import Workspace, write_atomically

_log = logging.getLogger(__name__)

MIB = 1024**2
MAX_SPANS = 100_000  # of one run; later ones are counted, not kept, so memory stays bounded

_active: ContextVar[Profiler | None] = ContextVar("rvc_colab_profiler", default=None)


@dataclass(frozen=True)
class Span:
    """One pass through one stage. Times in seconds since the profiler began, memory in bytes."""

    name: str
    start: float
    seconds: float
    depth: int
    thread: int
    process_bytes: int
    grown_bytes: int
    gpu_peak_bytes: int


@dataclass(frozen=True)
class StageTotal:
    """All passes through the stages of one name."""

    name: str
    depth: int
    calls: int
    seconds: float
    own_seconds: float
    process_bytes: int
    grown_bytes: int
    gpu_peak_bytes: int


class Profiler:
    """Collect spans from any number of threads.

    `clock` gives seconds; `process_memory` the bytes of this process.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        process_memory: Callable[[], int] | None = None,
    ) -> None:
        self._clock = clock
        self._memory = process_memory or process_bytes
        self._begun = clock()
        self._lock = threading.Lock()
        self._depths = threading.local()
        self._spans: list[Span] = []
        self.dropped = 0

    @contextlib.contextmanager
    def activated(self) -> Iterator[Profiler]:
        """Let `stage` of this module report here, in this context and those copied from it."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one pass through the stage `name`; also when it ends in an error."""
        depth = getattr(self._depths, "value", 0)
        self._depths.value = depth + 1
        _settle_gpu(reset_peak=depth == 0)
        memory, start = self._memory(), self._clock()
        try:
            yield
        finally:
            peak = _settle_gpu()
            seconds = self._clock() - start
            now = self._memory()
            self._depths.value = depth
            self._keep(
                Span(
                    name,
                    start - self._begun,
                    seconds,
                    depth,
                    threading.get_ident(),
                    now,
                    now - memory,
                    peak,
                )
            )

    def _keep(self, span: Span) -> None:
        with self._lock:
            if len(self._spans) < MAX_SPANS:
                self._spans.append(span)
            else:
                self.dropped += 1

    @property
    def spans(self) -> list[Span]:
        """Every finished span, by the time it began."""
        with self._lock:
            return sorted(self._spans, key=lambda s: (s.start, s.depth))

    def totals(self) -> list[StageTotal]:
        """Sum the spans by name, in the order in which the names first began."""
        spans = self.spans
        inside = _seconds_inside(spans)
        groups: dict[tuple[str, int], list[int]] = {}
        for number, span in enumerate(spans):
            groups.setdefault((span.name, span.depth), []).append(number)
        return [
            _total(name, depth, spans, inside, members) for (name, depth), members in groups.items()
        ]

    def table(self) -> str:
        """Draw the totals for a person: time, share, calls, memory."""
        totals = self.totals()
        whole = sum(t.seconds for t in totals if t.depth == 0) or 1e-12
        rows = [("stage", "calls", "seconds", "own", "share", "RAM MB", "grew MB", "GPU peak MB")]
        for t in totals:
            rows.append(
                (
                    "  " * t.depth + t.name,
                    str(t.calls),
                    f"{t.seconds:.3f}",
                    f"{t.own_seconds:.3f}",
                    f"{100 * t.own_seconds / whole:.1f}%",
                    f"{t.process_bytes / MIB:.0f}",
                    f"{t.grown_bytes / MIB:+.0f}",
                    f"{t.gpu_peak_bytes / MIB:.0f}" if t.gpu_peak_bytes else "-",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))
            )
            for row in rows
        ]
        if self.dropped:
            lines.append(f"{self.dropped} further spans were not kept.")
        return "\n".join(lines)

    def chrome_trace(self) -> dict[str, Any]:
        """Return the run in the Trace Event Format (complete events, times in microseconds)."""
        process = os.getpid()
        events: list[dict[str, Any]] = [
            {
                "name": "process_name",
                "ph": "M",
                "pid": process,
                "tid": 0,
                "args": {"name": "rvc_colab"},
            }
        ]
        for span in self.spans:
            memory = {"grown_bytes": span.grown_bytes, "gpu_peak_bytes": span.gpu_peak_bytes}
            events.append(
                {
                    "name": span.name,
                    "cat": "stage",
                    "ph": "X",
                    "pid": process,
                    "tid": span.thread,
                    "ts": span.start * 1e6,
                    "dur": span.seconds * 1e6,
                    "args": memory,
                }
            )
            events.append(
                {
                    "name": "memory",
                    "ph": "C",
                    "pid": process,
                    "ts": (span.start + span.seconds) * 1e6,
                    "args": {"process_bytes": span.process_bytes},
                }
            )
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def write_trace(self, path: str | os.PathLike[str]) -> Path:
        """Write the Chrome trace to `path`, whole or not at all, and return the path."""
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(self.chrome_trace()), encoding="utf-8")
        return Path(path)


def _seconds_inside(spans: list[Span]) -> list[float]:
    """Return for each span the seconds that its direct children took."""
    inside = [0.0] * len(spans)
    open_by_thread: dict[int, list[int]] = {}
    for number, span in enumerate(spans):
        parents = open_by_thread.setdefault(span.thread, [])
        del parents[span.depth :]
        if parents and len(parents) == span.depth:
            inside[parents[-1]] += span.seconds
        parents.append(number)
    return inside


def _total(
    name: str, depth: int, spans: list[Span], inside: list[float], members: list[int]
) -> StageTotal:
    seconds = sum(spans[i].seconds for i in members)
    return StageTotal(
        name=name,
        depth=depth,
        calls=len(members),
        seconds=seconds,
        own_seconds=max(0.0, seconds - sum(inside[i] for i in members)),
        process_bytes=max(spans[i].process_bytes for i in members),
        grown_bytes=sum(spans[i].grown_bytes for i in members),
        gpu_peak_bytes=max(spans[i].gpu_peak_bytes for i in members),
    )


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure the block as the stage `name` of the active profiler; without one do nothing."""
    profiler = _active.get()
    if profiler is None:
        yield
        return
    with profiler.stage(name):
        yield


@dataclass(frozen=True)
class Profile:
    """The profile of one run: where its Chrome trace is written, and the numbers behind it."""

    trace: Path
    profiler: Profiler

    def record(self) -> dict[str, Any]:
        """Return the trace's path, the table for a person, and the totals, for JSON."""
        return {
            "trace": str(self.trace),
            "table": self.profiler.table(),
            "stages": [asdict(total) for total in self.profiler.totals()],
        }


@contextlib.contextmanager
def profiled(wanted: bool, workspace: Workspace, what: str) -> Iterator[Profile | None]:
    """Measure the block when `wanted`, and write its trace into the workspace's `profiles/`.

    A run that fails leaves its trace too. Gives None when nothing is measured.
    """
    if not wanted:
        yield None
        return
    name = f"{what}_{time.strftime('%Y%m%d_%H%M%S')}_{os.urandom(2).hex()}.trace.json"
    profile = Profile(workspace.root / "profiles" / name, Profiler())
    try:
        with profile.profiler.activated():
            yield profile
    finally:
        profile.profiler.write_trace(profile.trace)
        _log.info("The trace of this run is %s.", profile.trace)


def active_profiler() -> Profiler | None:
    """Return the profiler that `stage` reports to in this context."""
    return _active.get()


def process_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 where it cannot be found out."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _process_bytes_elsewhere()


def _process_bytes_elsewhere() -> int:
    try:
        import psutil
    except ImportError:
        return 0
    return int(psutil.Process().memory_info().rss)


def _settle_gpu(reset_peak: bool = False) -> int:
    """Wait for the GPU, so that its work counts where it was asked for; return the peak."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    torch.cuda.synchronize()
    if reset_peak:
        torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.max_memory_allocated())
