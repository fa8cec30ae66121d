"""The profiler: a table for a person, a trace for a browser, nothing when it is off."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from rvc_colab import profiling
from rvc_colab.profiling import Profiler, active_profiler, process_bytes, stage
from rvc_colab.workspace import Workspace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def profiled(clock: Clock) -> Profiler:
    """A run of 10 s: convert 8 s (content twice 2 s, synthesis 3 s, 1 s of its own), write 2 s."""
    memory = iter(range(0, 10**9, 1024**2))
    profiler = Profiler(clock, lambda: next(memory))
    with profiler.activated():
        with stage("convert"):
            clock.now += 1
            for _ in range(2):
                with stage("content"):
                    clock.now += 2
            with stage("synthesis"):
                clock.now += 3
        with stage("write"):
            clock.now += 2
    return profiler


def test_totals_sum_calls_and_seconds(profiled: Profiler) -> None:
    totals = {t.name: (t.calls, t.seconds) for t in profiled.totals()}
    assert totals == {
        "convert": (1, 8.0),
        "content": (2, 4.0),
        "synthesis": (1, 3.0),
        "write": (1, 2.0),
    }


def test_own_time_leaves_the_inner_stages_out(profiled: Profiler) -> None:
    assert [t.own_seconds for t in profiled.totals() if t.name == "convert"] == [1.0]


def test_the_table_names_each_stage_with_its_share(profiled: Profiler) -> None:
    lines = profiled.table().splitlines()
    assert [line.split()[0] for line in lines] == [
        "stage",
        "convert",
        "content",
        "synthesis",
        "write",
    ]
    assert "40.0%" in lines[2] and "30.0%" in lines[3] and "20.0%" in lines[4]


def test_the_trace_is_readable_json_with_nested_events(profiled: Profiler, tmp_path: Path) -> None:
    path = profiled.write_trace(tmp_path / "trace.json")
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in spans] == ["convert", "content", "content", "synthesis", "write"]
    outer, inner = spans[0], spans[3]
    assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]
    assert spans[0]["dur"] == pytest.approx(8e6)


def test_memory_is_counted_per_stage(profiled: Profiler) -> None:
    write = next(t for t in profiled.totals() if t.name == "write")
    assert write.grown_bytes == 1024**2


def test_a_stage_that_fails_is_measured_too(clock: Clock) -> None:
    profiler = Profiler(clock)
    with pytest.raises(ValueError), profiler.stage("content"):
        clock.now += 5
        raise ValueError
    assert [(s.name, s.seconds, s.depth) for s in profiler.spans] == [("content", 5.0, 0)]
    with profiler.stage("next"):
        pass
    assert profiler.spans[-1].depth == 0


def test_without_an_active_profiler_a_stage_does_nothing() -> None:
    with stage("content"):
        assert active_profiler() is None


def test_another_thread_does_not_report_to_this_runs_profiler(clock: Clock) -> None:
    profiler = Profiler(clock)
    seen = []
    with profiler.activated():
        thread = threading.Thread(target=lambda: seen.append(active_profiler()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_the_memory_of_this_process_is_plausible() -> None:
    assert 10 * 1024**2 < process_bytes() < 1024**4


def test_a_run_that_fails_leaves_its_trace(tmp_path) -> None:
    place = Workspace(tmp_path)
    with (
        pytest.raises(ValueError),
        profiling.profiled(True, place, "convert") as profile,
        stage("content"),
    ):
        raise ValueError
    assert profile.trace.parent == tmp_path / "profiles" and "content" in profile.trace.read_text()
    assert active_profiler() is None


def test_what_is_not_asked_for_is_not_measured(tmp_path) -> None:
    with profiling.profiled(False, Workspace(tmp_path), "convert") as profile:
        assert profile is None and active_profiler() is None
    assert list(tmp_path.iterdir()) == []
