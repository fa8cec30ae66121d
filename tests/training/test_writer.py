"""The background writer: the step does not wait, a full disk is survived, a fault is not hidden."""

import logging
import threading
from pathlib import Path

import pytest
import torch

from rvc_colab.errors import SnapshotError, TrainingError
from rvc_colab.training.snapshots import Snapshot, Snapshots
from rvc_colab.training.writer import RETRY_SECONDS, SnapshotWriter


def snapshot(step: int) -> Snapshot:
    return Snapshot({"generator": {"weight": torch.full((3,), float(step))}}, {"step": step})


class HeldBack(Snapshots):
    """Snapshots on a disk that waits for leave, and refuses while it is full."""

    leave: threading.Event
    full = False

    def write(self, snapshot: Snapshot, best: int | None = None) -> Path:
        assert self.leave.wait(10)
        if self.full:
            raise SnapshotError("No space left on device.")
        return super().write(snapshot, best)


@pytest.fixture
def disk(tmp_path: Path) -> HeldBack:
    made = HeldBack(tmp_path / "snapshots", keep=2)
    made.leave = threading.Event()
    return made


def test_the_one_who_trains_goes_on_while_a_snapshot_is_written(disk: HeldBack) -> None:
    writer = SnapshotWriter(disk)
    writer.begin(snapshot(1))
    assert writer.busy and disk.steps() == []
    disk.leave.set()
    writer.wait()
    assert not writer.busy and disk.steps() == [1]


def test_the_last_snapshot_comes_after_the_one_being_written(disk: HeldBack) -> None:
    writer = SnapshotWriter(disk)
    writer.begin(snapshot(1))
    disk.leave.set()
    writer.finish(snapshot(2))
    assert disk.steps() == [1, 2]


def test_a_full_disk_is_said_aloud_and_tried_again(
    disk: HeldBack, caplog: pytest.LogCaptureFixture
) -> None:
    disk.leave.set()
    writer = SnapshotWriter(disk)
    writer.begin(snapshot(1))
    writer.wait()
    disk.full = True
    with caplog.at_level(logging.WARNING):
        writer.begin(snapshot(2))
        writer.wait()
    assert "No space left" in caplog.text and "that of step 1 stays" in caplog.text
    assert writer.interval(600) == RETRY_SECONDS and disk.steps() == [1]
    disk.full = False
    writer.begin(snapshot(3))
    writer.wait()
    assert writer.interval(600) == 600 and disk.steps() == [1, 3]
    assert writer.warnings == [
        "A snapshot could not be written once; the run went on. Later ones were written."
    ]


def test_a_full_disk_at_the_end_is_an_error(disk: HeldBack) -> None:
    disk.leave.set()
    disk.full = True
    with pytest.raises(SnapshotError, match="No space left"):
        SnapshotWriter(disk).finish(snapshot(1))


def test_at_the_end_older_ones_give_way_to_the_last_but_never_the_newest(
    disk: HeldBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.leave.set()
    for step in (1, 2):
        disk.write(snapshot(step))
    write = Snapshots.write

    def small(self: Snapshots, snapshot: Snapshot, best: int | None = None) -> Path:
        if len(self.steps()) > 1:
            raise SnapshotError("No space left on device.")
        return write(self, snapshot, best)

    monkeypatch.setattr(HeldBack, "write", small)
    SnapshotWriter(disk).finish(snapshot(3))
    assert disk.steps() == [2, 3]


def test_a_fault_in_the_thread_reaches_the_one_who_trains(
    disk: HeldBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(self: Snapshots, snapshot: Snapshot, best: int | None = None) -> Path:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(HeldBack, "write", faulty)
    writer = SnapshotWriter(disk)
    writer.begin(snapshot(1))
    with pytest.raises(TrainingError, match="a fault"):
        writer.wait()
