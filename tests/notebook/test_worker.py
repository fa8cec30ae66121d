"""How the worker draws progress, and how many processes it trains with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from rvc_colab.notebook import jobs, worker
from rvc_colab.notebook.jobs import JobState
from rvc_colab.notebook.worker import FileProgress
from rvc_colab.training.recipe import TrainingResult


@pytest.fixture
def progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileProgress:
    monkeypatch.setattr(worker, "WRITE_SECONDS", 0.0)
    return FileProgress(tmp_path, JobState("train", "Training ann"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_follows_the_pace(progress: FileProgress, clock: list[float]) -> None:
    progress.stage("Training", 100)
    clock[0] = 10.0
    progress.advance(20)
    assert jobs.read_state(progress.folder).eta_seconds == 40.0


def test_the_time_left_forgets_a_slow_start(progress: FileProgress, clock: list[float]) -> None:
    progress.stage("Training", 1000)
    clock[0] = 600.0  # compiling
    progress.advance(1)
    for _ in range(200):
        clock[0] += 1.0
        progress.advance(1)
    assert jobs.read_state(progress.folder).eta_seconds == pytest.approx(799, rel=0.05)


def test_a_stage_of_unknown_length_has_no_time_left(
    progress: FileProgress, clock: list[float]
) -> None:
    progress.stage("Fetching contentvec")
    clock[0] = 5.0
    progress.advance(1)
    state = jobs.read_state(progress.folder)
    assert state.eta_seconds is None and state.share is None


def test_the_state_file_is_replaced_only_so_often(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WRITE_SECONDS", 0.5)
    progress = FileProgress(tmp_path, JobState())
    written: list[Any] = []
    monkeypatch.setattr(jobs, "write_state", lambda folder, state: written.append(state))
    progress.stage("Training", 1000)
    for _ in range(100):
        clock[0] += 0.01
        progress.advance(1)
    assert 2 <= len(written) <= 4


@pytest.mark.parametrize("count", [None, 1, 2])
def test_training_takes_as_many_processes_as_were_asked_for(
    progress: FileProgress, monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    """One where one was asked for, also where more GPUs are, and as the machine says where nothing
    was; all through the one journey, which looks at the recordings first and reports at the end."""
    from rvc_colab import api

    asked: list[dict[str, Any]] = []

    def train(*names: Any, **choices: Any) -> TrainingResult:
        asked.append(choices)
        return TrainingResult(Path("ann.pth"), None, {"ended": "finished"}, ["a note"])

    monkeypatch.setattr(api, "train", train)
    request = {
        "arguments": {"name": "ann", "folder": "there"}, "settings": {"epochs": 3},
        "workspace": str(progress.folder), "processes": count,
    }  # fmt: skip
    told = worker.VERBS["train"](request, progress)
    assert asked[0].get("processes") == count and asked[0]["epochs"] == 3
    assert told["warnings"] == ["a note"] and told["report"] == {"ended": "finished"}


@pytest.mark.slow
def test_two_processes_train_one_voice_and_a_stop_saves_it(tmp_path: Path) -> None:
    from rvc_colab.notebook.materials import sliced_clip
    from rvc_colab.workspace import Workspace

    sliced_clip(tmp_path / "recordings")
    small = {
        "sample_rate": 16000, "version": "v1", "encoder": "tiny", "pretrained": "none",
        "speakers": 1, "hidden_channels": 32, "filter_channels": 48, "encoder_layers": 1,
        "upsample_initial_channels": 32, "gin_channels": 8, "discriminator_scale": 0.05,
        "segment_frames": 24, "batch_size": 1, "device": "cpu",
    }  # fmt: skip
    asked = {"name": "ann", "folder": str(tmp_path / "recordings")}
    job = jobs.Job.start("train", asked, small, Workspace(tmp_path / "w"), processes=2)
    while (state := job.state()).done < 3 or state.stage != "Training":
        assert not state.finished, state
        time.sleep(0.1)
    job.stop()
    state = job.wait(120)
    assert state.status == jobs.STOPPED and Path(state.result["voice"]).is_file()
