"""How the worker draws progress, and how it keeps several fitting processes together."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rvc_colab.errors import TrainingError
from rvc_colab.notebook import jobs, worker
from rvc_colab.notebook.jobs import JobState
from rvc_colab.notebook.worker import FileProgress

FIT = "Path(folder, 'fit.json').write_text('{\"ended\": \"%s\"}')"
SLEEP = "time.sleep(100)"


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


def _ranks(monkeypatch: pytest.MonkeyPatch, *codes: str) -> list[subprocess.Popen[bytes]]:
    """Replace the fitting processes by small programs; returns those started."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
        head = "import signal, sys, time; from pathlib import Path; folder = sys.argv[1]\n"
        command = [sys.executable, "-I", "-S", "-c", head + codes[rank], str(folder)]
        started.append(subprocess.Popen(command))
        return started[-1]

    monkeypatch.setattr(worker, "_start_rank", start)
    monkeypatch.setattr(worker, "RANK_POLL_SECONDS", 0.02)
    return started


def test_when_the_first_process_has_finished_the_others_end(
    progress: FileProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = _ranks(monkeypatch, FIT % "finished", SLEEP)
    assert worker._fit_on_many(2, progress) == "finished"
    assert all(rank.returncode is not None for rank in ranks)


def test_a_process_that_dies_ends_the_training_in_words(
    progress: FileProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = _ranks(monkeypatch, SLEEP, "sys.exit(1)")
    with pytest.raises(TrainingError, match="ended early"):
        worker._fit_on_many(2, progress)
    assert all(rank.returncode is not None for rank in ranks)


def test_the_first_process_own_words_are_told(
    progress: FileProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = '{"message": "The loss is not a number.", "hint": "Use fp32."}'
    _ranks(monkeypatch, f"Path(folder, 'fit.json').write_text('{words}'); sys.exit(2)", SLEEP)
    with pytest.raises(TrainingError) as caught:
        worker._fit_on_many(2, progress)
    assert (caught.value.message, caught.value.hint) == ("The loss is not a number.", "Use fp32.")


def test_only_the_first_process_is_asked_to_stop(
    progress: FileProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = (
        "def save(*_):\n"
        f"    {FIT % 'stopped on request'}\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "Path(folder, 'ready').touch()\n" + SLEEP
    )
    told = "signal.signal(signal.SIGTERM, lambda *_: Path(folder, 'told').touch())\n" + SLEEP
    ranks = _ranks(monkeypatch, saves, told)
    polls = time.sleep

    def cancel_when_ready(seconds: float) -> None:
        polls(seconds)
        if (progress.folder / "ready").exists():
            progress.cancel()

    monkeypatch.setattr(worker.time, "sleep", cancel_when_ready)
    assert worker._fit_on_many(2, progress) == "stopped on request"
    assert not (progress.folder / "told").exists()
    assert ranks[1].returncode == -signal.SIGKILL


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
