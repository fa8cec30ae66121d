"""The last whole generation is always there, however the publisher ends."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from rvc_colab.errors import ConfigError, NotebookError
from rvc_colab.notebook import publishing
from rvc_colab.notebook.publishing import generations, latest, publish, restore

ROOT = Path(__file__).parents[2]
KILLS = 50


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return tmp_path / "MyDrive" / "RVC_Colab" / "weights"


def _file(tmp_path: Path, text: str, name: str = "voice.pth") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_is_published_under_a_new_name(drive: Path, tmp_path: Path) -> None:
    published = publish(_file(tmp_path, "one"), drive)
    assert published.file == "voice.000001.pth"
    assert published.path.read_text() == "one"
    assert latest(drive, "voice") == published


def test_every_generation_has_its_own_name(drive: Path, tmp_path: Path) -> None:
    for text in ("one", "two"):
        publish(_file(tmp_path, text), drive)
    assert [g.path.read_text() for g in generations(drive)] == ["one", "two"]


def test_the_last_n_stay(drive: Path, tmp_path: Path) -> None:
    for number in range(5):
        publish(_file(tmp_path, str(number)), drive, keep=2)
    assert sorted(os.listdir(drive)) == [
        "voice.000004.pth",
        "voice.000004.pth.manifest.json",
        "voice.000005.pth",
        "voice.000005.pth.manifest.json",
    ]


@pytest.mark.parametrize("other", ["voice.000001", "voice 2", "voice.x"])
def test_other_names_are_not_touched(drive: Path, tmp_path: Path, other: str) -> None:
    publish(_file(tmp_path, "other"), drive, name=other)
    for number in range(4):
        publish(_file(tmp_path, str(number)), drive, keep=1)
    found = latest(drive, other)
    assert found and found.path.read_text() == "other"
    assert len(generations(drive, "voice")) == 1


def test_a_folder_travels_as_one_tar_and_comes_back(drive: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "eval").mkdir(parents=True)
    (run / "G.pth").write_bytes(b"weights" * 1000)
    (run / "eval" / "a.txt").write_text("x")
    published = publish(run, drive)
    assert published.file.endswith(".tar") and tarfile.is_tarfile(published.path)
    back = restore(published, tmp_path / "new" / "run")
    assert (back / "G.pth").read_bytes() == b"weights" * 1000
    assert (back / "eval" / "a.txt").read_text() == "x"


def test_restoring_keeps_what_was_there(drive: Path, tmp_path: Path) -> None:
    source = _file(tmp_path, "old")
    published = publish(source, drive)
    source.write_text("newer work")
    restore(published, source)
    assert source.read_text() == "old"
    assert (tmp_path / "voice.before-1.pth").read_text() == "newer work"


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "empty"])
def test_a_damaged_generation_is_passed_over(drive: Path, tmp_path: Path, damage: str) -> None:
    publish(_file(tmp_path, "one"), drive)
    second = publish(_file(tmp_path, "two"), drive)
    if damage == "gone":
        second.path.unlink()
    else:
        second.path.write_text({"cut": "tw", "changed": "owt", "empty": ""}[damage])
    found = latest(drive, "voice")
    assert found and found.number == 1


def test_a_damaged_manifest_is_passed_over(drive: Path, tmp_path: Path) -> None:
    publish(_file(tmp_path, "one"), drive)
    second = publish(_file(tmp_path, "two"), drive)
    (drive / f"{second.file}.manifest.json").write_text('{"name": ')
    found = latest(drive, "voice")
    assert found and found.number == 1


def test_a_damaged_generation_is_not_restored(drive: Path, tmp_path: Path) -> None:
    source = _file(tmp_path, "one")
    published = publish(source, drive)
    published.path.write_text("two")
    with pytest.raises(NotebookError, match="is damaged"):
        restore(published, source)
    assert source.read_text() == "one"


def test_an_archive_that_leads_outside_is_not_unpacked(drive: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        tar.add(_file(tmp_path, "x"), "../../outside.txt")
    published = publish(evil, drive)
    manifest = drive / f"{published.file}.manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "is_folder": True}))
    found = latest(drive)
    assert found
    with pytest.raises(NotebookError, match="leads outside"):
        restore(found, tmp_path / "a" / "b" / "run")
    assert not list(tmp_path.rglob("outside.txt"))


def test_nothing_is_found_where_nothing_was_published(tmp_path: Path) -> None:
    assert latest(tmp_path / "nowhere") is None


def test_a_missing_source_and_a_bad_name_are_refused(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="nothing to publish"):
        publish(tmp_path / "none", drive)
    with pytest.raises(ConfigError):
        publish(_file(tmp_path, "x"), drive, name="../up")


def test_a_full_drive_leaves_the_last_generation_and_no_litter(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(_file(tmp_path, "one"), drive)
    before = sorted(os.listdir(drive))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publishing.os, "fsync", full)
    with pytest.raises(OSError):
        publish(_file(tmp_path, "two"), drive)
    assert sorted(os.listdir(drive)) == before
    monkeypatch.undo()
    found = latest(drive)
    assert found and found.path.read_text() == "one"


def test_bytes_that_change_on_the_way_are_not_published(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_sha256", lambda path: "0" * 64)
    with pytest.raises(NotebookError, match="came back"):
        publish(_file(tmp_path, "one"), drive)
    assert os.listdir(drive) == []


def test_an_unfinished_file_of_a_dead_process_is_cleared(drive: Path, tmp_path: Path) -> None:
    drive.mkdir(parents=True)
    dead = subprocess.Popen(["true"])
    dead.wait()
    litter = drive / f"voice.000009.pth.{dead.pid}.partial"
    litter.write_text("half")
    alive = drive / f"voice.000009.pth.{os.getppid()}.partial"
    alive.write_text("half")
    published = publish(_file(tmp_path, "one"), drive)
    assert published.number == 10
    assert not litter.exists() and alive.exists()


def test_fifty_kills_never_lose_the_last_whole_generation(drive: Path, tmp_path: Path) -> None:
    """Children publish generations whose content tells their number, and are killed at random."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from rvc_colab.notebook.publishing import publish
folder, number = Path({str(tmp_path)!r}), int(sys.argv[1])
while True:
    number += 1
    (folder / "run.pth").write_bytes(str(number).encode().ljust(300_000, b"."))
    done = publish(folder / "run.pth", {str(drive)!r}, keep=2)
    print(number, flush=True)
"""
    random_moments = random.Random(5)
    finished = 0
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(finished)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout
        child.stdout.readline()  # one whole generation, so that the kill falls inside the loop
        time.sleep(random_moments.uniform(0.0, 0.03))
        child.send_signal(signal.SIGKILL)
        said = [int(line) for line in child.stdout.read().split()]
        child.wait()
        finished = max(finished + 1, *said, 0)
        found = latest(drive, "run")
        assert found is not None
        content = int(found.path.read_bytes().rstrip(b"."))
        # The generation under way may have become whole just before the kill, none is lost.
        assert content in (finished, finished + 1)
        finished = content
        assert len(generations(drive, "run")) <= 4
    assert not [g for g in generations(drive, "run")[-2:] if not g.whole()]
