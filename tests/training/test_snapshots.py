"""Snapshots: whole or not at all, checked before they are read, never lost silently."""

import contextlib
import json
import os
from pathlib import Path

import pytest
import torch

from rvc_colab.errors import SnapshotError
from rvc_colab.training.snapshots import Snapshot, Snapshots, read_snapshot


def snapshot(step: int) -> Snapshot:
    return Snapshot({"generator": {"weight": torch.full((3,), float(step))}}, {"step": step})


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "snapshots", keep=2)


def test_what_is_written_is_read_back(snapshots: Snapshots) -> None:
    snapshots.write(snapshot(7))
    read = snapshots.read_newest()
    assert read is not None and read.step == 7
    assert torch.equal(read.tensors["generator"]["weight"], torch.full((3,), 7.0))


def test_a_run_without_snapshots_has_none(snapshots: Snapshots) -> None:
    assert snapshots.read_newest() is None


def test_the_newest_ones_and_the_best_one_are_kept(snapshots: Snapshots) -> None:
    for step in (1, 2, 3, 4):
        snapshots.write(snapshot(step), best=1)
    assert snapshots.steps() == [1, 3, 4]


@pytest.mark.parametrize("damage", ["byte", "shorter", "gone", "manifest", "empty manifest"])
def test_a_damaged_newest_snapshot_gives_way_to_the_one_before(
    snapshots: Snapshots, damage: str
) -> None:
    snapshots.write(snapshot(1))
    newest = snapshots.write(snapshot(2))
    file = newest / "generator.safetensors"
    if damage == "byte":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "shorter":
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text("")
    read = snapshots.read_newest()
    assert read is not None and read.step == 1
    assert "step-00000002" in snapshots.warnings[0] and "step 1" in snapshots.warnings[1]


def test_a_run_is_never_started_over_when_all_snapshots_are_damaged(snapshots: Snapshots) -> None:
    (snapshots.write(snapshot(1)) / "state.json").write_text("{}")
    with pytest.raises(SnapshotError, match="None of the 1 snapshots"):
        snapshots.read_newest()


class Killed(BaseException):
    """The process ends here: nothing after it runs, not even clean-up."""


@pytest.mark.parametrize("moment", range(1, 9))
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_snapshot(
    snapshots: Snapshots, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.write(snapshot(1))
    left = [moment]

    def dying(work):  # type: ignore[no-untyped-def]
        def run(*arguments, **options):  # type: ignore[no-untyped-def]
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return work(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(Path, "write_text", dying(Path.write_text))
        patch.setattr(Path, "mkdir", dying(Path.mkdir))
        with contextlib.suppress(Killed):
            snapshots.write(snapshot(2))
    again = Snapshots(snapshots.folder, keep=2)
    read = again.read_newest()
    assert read is not None and read.step in (1, 2)
    again.write(snapshot(3))
    assert not [path for path in snapshots.folder.iterdir() if path.name.startswith(".")]


def test_a_full_disk_is_said_and_leaves_the_old_snapshot(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.write(snapshot(1))

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(SnapshotError, match="No space left"):
            snapshots.write(snapshot(2))
    assert snapshots.steps() == [1]
    assert [path.name for path in snapshots.folder.iterdir()] == ["step-00000001"]


def test_the_manifest_names_every_file_with_its_hash(snapshots: Snapshots) -> None:
    folder = snapshots.write(snapshot(1))
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(files) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert all(len(facts["sha256"]) == 64 for facts in files.values())
    assert read_snapshot(folder).step == 1


def test_a_disk_that_fills_up_under_the_tensors_is_said_too(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors

    def full(tensors: object, path: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(SnapshotError, match="No space left"):
        snapshots.write(snapshot(1))
    assert list(snapshots.folder.iterdir()) == []


def test_a_damaged_newest_one_does_not_push_out_whole_ones(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", keep=1)
    (snapshots.write(snapshot(9)) / "manifest.json").write_text("")
    snapshots.write(snapshot(5))
    assert snapshots.steps() == [5]
    read = snapshots.read_newest()
    assert read is not None and read.step == 5 and snapshots.warnings == []
