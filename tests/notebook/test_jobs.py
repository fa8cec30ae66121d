"""A job is seen through its folder: from its cell, after a reload, after the kernel has died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rvc_colab.notebook import jobs
from rvc_colab.notebook.jobs import DONE, FAILED, LOST, RUNNING, STOPPED, STOPPING, Job, JobState
from rvc_colab.workspace import Workspace

LONG = 100_000  # steps: far more than a test lasts
PATIENCE_SECONDS = 60.0

pytestmark = pytest.mark.usefixtures("light_jobs")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def _train(place: Workspace, epochs: int, **settings: object) -> Job:
    asked = {"name": "ann", "folder": "recordings"}
    return Job.start("train", asked, {"epochs": epochs, **settings}, place)


def _until(job: Job, *statuses: str, stage: str = "") -> JobState:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        state = job.state()
        if state.status in statuses and stage in state.stage:
            return state
        time.sleep(0.02)
    raise AssertionError(job.state())


def _gone(pid: int) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if not jobs._mark(pid):
            return True
        time.sleep(0.05)
    return False


def test_a_job_tells_its_result(place: Workspace) -> None:
    state = _train(place, 3).wait(PATIENCE_SECONDS)
    assert state.status == DONE and state.result["voice"].endswith("ann.pth")


def test_starting_does_not_wait_for_the_work(place: Workspace) -> None:
    assert not _train(place, LONG).state().finished


def test_progress_and_time_left_are_seen_while_it_runs(place: Workspace) -> None:
    job, seen = _train(place, LONG), None
    while seen is None or not seen.eta_seconds:
        seen = _until(job, RUNNING, stage="Training")
    assert seen.total == LONG and 0 < seen.done < LONG and seen.note == "mel 20"


def test_stop_saves_first(place: Workspace) -> None:
    job = _train(place, LONG)
    _until(job, RUNNING, stage="Training")
    job.stop()
    state = job.wait(PATIENCE_SECONDS)
    assert state.status == STOPPED
    assert (place.weights / "ann.pth").read_text() == "saved"


def test_between_stop_and_its_end_it_says_that_it_is_stopping(place: Workspace) -> None:
    job = _train(place, LONG)
    state = _until(job, RUNNING, stage="Training")
    os.kill(state.pid, signal.SIGSTOP)  # it cannot answer yet
    job.stop()
    assert job.state().status == STOPPING
    os.kill(state.pid, signal.SIGCONT)
    assert job.wait(PATIENCE_SECONDS).status == STOPPED


def test_after_a_reload_the_running_job_is_found_and_can_be_stopped(place: Workspace) -> None:
    started = _train(place, LONG)
    _until(started, RUNNING, stage="Training")
    found = Job.attach(place)
    assert found is not None and found.state().stage == "Training"
    found.stop()
    assert found.wait(PATIENCE_SECONDS).status == STOPPED


def test_another_kernel_sees_the_job_through_its_files(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _train(place, LONG)
    _until(job, RUNNING, stage="Training")
    children = dict(jobs._children)
    monkeypatch.setattr(jobs, "_children", {})
    other = Job.attach(place, "train")
    assert other is not None and other.state().status == RUNNING
    other.stop()
    assert other.wait(PATIENCE_SECONDS).status == STOPPED
    jobs._children.update(children)


def test_there_is_nothing_to_attach_to_in_a_new_workspace(place: Workspace) -> None:
    assert Job.attach(place) is None


def test_the_running_training_of_a_voice_is_found_by_its_name(place: Workspace) -> None:
    job = _train(place, LONG)
    found = jobs.running(place, "train", name="ann")
    assert found is not None and found.folder == job.folder
    assert jobs.running(place, "train", name="bob") is None


def test_a_refusal_ends_in_its_two_lines(place: Workspace) -> None:
    state = _train(place, 1, fails="dataset").wait(PATIENCE_SECONDS)
    assert state.status == FAILED
    assert (state.message, state.hint) == ("The recordings are silent.", "Record them again.")


def test_an_unexpected_error_names_itself_and_leaves_its_traceback_in_the_log(
    place: Workspace,
) -> None:
    job = _train(place, 1, fails="bug")
    state = job.wait(PATIENCE_SECONDS)
    assert state.status == FAILED and "KeyError" in state.message
    assert "Traceback" in (job.folder / jobs.LOG).read_text()


def test_exhausted_memory_has_its_remedy(place: Workspace) -> None:
    state = _train(place, 1, fails="memory").wait(PATIENCE_SECONDS)
    assert "memory ran out" in state.message and "batch size" in state.hint


def test_a_job_that_the_system_killed_is_told_as_lost_with_the_way_on(place: Workspace) -> None:
    state = _train(place, 1, fails="killed").wait(PATIENCE_SECONDS)
    assert state.status == LOST and "memory" in state.message and "last snapshot" in state.hint


def test_when_the_kernel_is_killed_the_job_saves_and_dies(place: Workspace) -> None:
    code = f"""
import os, signal, sys, time
from pathlib import Path
from rvc_colab.notebook import jobs
from rvc_colab.workspace import Workspace
jobs.WORKER = ({jobs.WORKER[0]!r},)
place = Workspace(Path({str(place.root)!r}))
job = jobs.Job.start("train", {{"name": "ann"}}, {{"epochs": {LONG}}}, place)
while job.state().stage != "Training":
    time.sleep(0.02)
print(job.state().pid, jobs.read_json(job.folder / jobs.GUARD)["pid"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    kernel = subprocess.run(
        [sys.executable, "-c", code], env=jobs.environment(), capture_output=True, text=True
    )
    worker, guard = map(int, kernel.stdout.split())
    assert _gone(worker) and _gone(guard)
    assert (place.weights / "ann.pth").read_text() == "saved"
    found = Job.attach(place)
    assert found is not None and found.state().status == STOPPED


def test_a_job_cut_off_with_its_kernel_is_told_as_such(place: Workspace) -> None:
    job = _train(place, LONG)
    state = _until(job, RUNNING, stage="Training")
    os.kill(state.pid, signal.SIGKILL)
    guard = jobs.read_json(job.folder / jobs.GUARD)["pid"]
    jobs._children.pop(job.folder).stop()
    assert _gone(guard)
    assert job.state().status == LOST and "kernel ended" in job.state().message


def test_stopping_a_finished_job_does_nothing(place: Workspace) -> None:
    job = _train(place, 1)
    job.wait(PATIENCE_SECONDS)
    job.stop()
    assert job.state().status == DONE


def test_an_interrupt_leaves_the_waiting_and_not_the_job(place: Workspace) -> None:
    job = _train(place, LONG)

    def interrupt(state: JobState) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.wait(watch=interrupt)
    assert not job.state().finished


def test_the_curve_is_thinned_and_keeps_the_newest_point(place: Workspace, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    rows = [{"step": step, "mel": 1.0 / step} for step in range(1, 1002)]
    history.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 10')
    job = _train(place, 1, history=str(history))
    job.wait(PATIENCE_SECONDS)
    found = job.losses(100)
    assert len(found) <= 100 and found[-1]["step"] == 1001


def test_the_log_names_the_stages(place: Workspace) -> None:
    job = _train(place, 1)
    job.wait(PATIENCE_SECONDS)
    assert any("Preparing recordings" in line for line in job.log())


def test_only_so_many_finished_jobs_are_kept(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "KEEP_JOBS", 2)
    for _ in range(3):
        _train(place, 1).wait(PATIENCE_SECONDS)
    assert len(list((place.cache / "jobs").iterdir())) == 2


def test_times_are_written_as_clocks() -> None:
    assert [jobs.clock(seconds) for seconds in (5, 65, 3605)] == ["0:05", "1:05", "1:00:05"]
