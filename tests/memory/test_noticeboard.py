"""Programs see what others have loaded, and nothing of those that are gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from simulated_memory import MIB, SimulatedDevice, SimulatedFamily

from rvc_colab.config import GpuConfig
from rvc_colab.memory.families import Families
from rvc_colab.memory.lifecycle import Lifecycle
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.monitor import MemoryMonitor
from rvc_colab.memory.noticeboard import Noticeboard
from rvc_colab.memory.probe import Sample
from rvc_colab.memory.reports import report, report_text

NOBODY = 2**22 + 1  # above the largest process number of Linux


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _lifecycle(board: Noticeboard) -> Lifecycle:
    device = SimulatedDevice(400 * MIB)
    family = SimulatedFamily(device, {"m0": 100 * MIB, "m1": 50 * MIB})
    config = GpuConfig(max_memory_usage_percent=100)
    manager = ModelManager(Families([family]), device, config)
    return Lifecycle(manager, MemoryMonitor(config, lambda: Sample(0.0)), board)


@pytest.fixture
def other(tmp_path: Path, clock: Clock) -> Lifecycle:
    """A program of another number, which lives: the parent of this one."""
    lifecycle = _lifecycle(Noticeboard(tmp_path / "board", clock, os.getppid()))
    lifecycle.manager.load("sim:m0")
    lifecycle.board.post(lifecycle)
    return lifecycle


@pytest.fixture
def here(tmp_path: Path, clock: Clock) -> Lifecycle:
    return _lifecycle(Noticeboard(tmp_path / "board", clock))


def test_the_models_of_another_program_are_seen(here, other) -> None:
    (program,) = report(here)["programs"]
    assert program["pid"] == os.getppid()
    assert [model["key"] for model in program["models"]] == ["sim:m0"]
    text = report_text(here)
    assert f"Program {os.getppid()}" in text and "sim:m0  cuda:0  float32    100.0 MB" in text


def test_a_program_does_not_list_itself_twice(here) -> None:
    here.board.post(here)
    assert report(here)["programs"] == []


def test_what_is_loaded_later_is_told(here, other) -> None:
    other.manager.load("sim:m1")
    other.board.post(other)
    (program,) = here.board.others()
    assert len(program["models"]) == 2


def test_a_note_that_stays_the_same_is_not_written_again_and_again(other, tmp_path, clock) -> None:
    note = tmp_path / "board" / f"{os.getppid()}.json"
    note.write_text("{}")
    clock.now += 1
    other.board.post(other)
    assert note.read_text() == "{}"
    clock.now += 30
    other.board.post(other)
    assert json.loads(note.read_text())["seconds"] == clock.now


def test_a_program_that_is_gone_is_not_listed(here, tmp_path, clock) -> None:
    dead = _lifecycle(Noticeboard(tmp_path / "board", clock, NOBODY))
    dead.board.post(dead)
    assert here.board.others() == []
    assert not (tmp_path / "board" / f"{NOBODY}.json").exists()


def test_a_program_that_fell_silent_is_not_listed(here, other, clock) -> None:
    clock.now += 1000
    assert here.board.others() == []


def test_a_program_that_ends_takes_its_note_away(here, other) -> None:
    other.start_automatic()
    other.stop_automatic()
    assert here.board.others() == []


def test_rubbish_on_the_board_is_passed_over(here, other, tmp_path) -> None:
    (tmp_path / "board" / "1.json").write_text("[1, 2")
    (tmp_path / "board" / "2.json").write_text('{"seconds": "yesterday"}')
    assert len(here.board.others()) == 1


def test_only_this_user_can_look(other, tmp_path) -> None:
    assert (tmp_path / "board").stat().st_mode & 0o077 == 0


def test_a_board_of_somebody_else_is_left_alone(here, tmp_path, caplog) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "board").symlink_to(tmp_path / "theirs")
    here.board.post(here)
    here.board.post(here)
    assert list((tmp_path / "theirs").iterdir()) == []
    assert caplog.text.count("belongs to somebody else") == 1
