"""Storage is mounted and linked without loss, and each refusal has its words."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import pytest
from fakes.colab import FakeColab
from fakes.kaggle import FakeSecrets

from rvc_colab.errors import NotebookError
from rvc_colab.notebook import drive, links
from rvc_colab.notebook.drive import Places, explain, export_zip, flush, inputs, mount, open_storage
from rvc_colab.workspace import Workspace


@pytest.fixture
def places(tmp_path: Path) -> Places:
    root = tmp_path / "kaggle"
    (root / "input").mkdir(parents=True)
    return Places(tmp_path / "colab/content/drive", root / "working", root / "input")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_drive_is_mounted_and_the_folders_linked(
    colab: FakeColab, places: Places, workspace: Path
) -> None:
    storage = open_storage(workspace, places=places)
    assert storage.kind == "drive" and storage.lasting and storage.refusal is None
    for name in ("weights", "indexes", "logs"):
        assert os.readlink(workspace / name) == str(places.drive / "MyDrive/RVC_Colab" / name)
    (Workspace(workspace).weights / "a.pth").write_text("x")
    assert (places.drive / "MyDrive/RVC_Colab/weights/a.pth").read_text() == "x"


def test_a_mounted_drive_is_not_asked_for_again(
    colab: FakeColab, places: Places, workspace: Path
) -> None:
    open_storage(workspace, places=places)
    open_storage(workspace, places=places)
    assert colab.asked == ["request_auth"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("denied", "denied"),
        ("timeout", "timeout"),
        ("no_reply", "no_reply"),
        ("policy", "policy"),
        ("enterprise", "unsupported"),
        ("failed", "failed"),
    ],
)
def test_a_refused_mount_has_its_words_and_work_goes_on(
    colab: FakeColab, places: Places, workspace: Path, failure: str, kind: str
) -> None:
    colab.mount_failure = failure
    storage = open_storage(workspace, places=places)
    assert storage.kind == "local" and storage.refusal is not None
    assert storage.refusal.kind == kind
    assert "kept on this machine" in storage.in_words()
    (Workspace(workspace).weights / "a.pth").write_text("x")


def test_every_refusal_has_its_own_sentence_and_remedy() -> None:
    rows = [(row[1], row[2], row[3]) for row in drive._TEXTS]
    rows += [row for number, row in drive._NUMBERS.items() if number != errno.EDQUOT]
    assert len({message for _, message, _ in rows}) == len(rows)
    assert all(remedy.endswith(".") for _, _, remedy in rows)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, "quota"),
        (errno.ENOTCONN, "disconnected"),
        (errno.EOPNOTSUPP, "no_links"),
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EROFS, "read_only"),
        (errno.EACCES, "forbidden"),
    ],
)
def test_the_drives_error_numbers_are_explained(number: int, kind: str) -> None:
    assert explain(OSError(number, "as the system says it")).kind == kind


def test_outside_a_notebook_the_mount_says_so(places: Places) -> None:
    assert (
        explain(AttributeError("'NoneType' object has no attribute 'kernel'")).kind == "not_colab"
    )
    refusal = mount(places)
    assert refusal is not None and refusal.kind == "not_colab"


def test_files_in_the_mountpoint_are_named(colab: FakeColab, places: Places) -> None:
    _put(places.drive / "stray.txt", "x")
    refusal = mount(places)
    assert refusal is not None and refusal.kind == "occupied"


def test_a_dead_drive_is_not_mounted_over(
    colab: FakeColab, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(path: object, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(drive.os, "stat", dead)
    refusal = mount(places)
    monkeypatch.undo()
    assert refusal is not None and refusal.kind == "disconnected" and colab.asked == []


def test_an_existing_folder_is_merged_and_both_are_kept(
    colab: FakeColab, places: Places, workspace: Path
) -> None:
    remote = places.drive / "MyDrive/RVC_Colab/weights"
    _put(workspace / "weights/mine.pth", "mine")
    _put(workspace / "weights/same.pth", "same")
    _put(workspace / "weights/both.pth", "local version")
    _put(workspace / "weights/deep/down.txt", "deep")
    mount(places)
    _put(remote / "same.pth", "same")
    _put(remote / "both.pth", "drive version")
    storage = open_storage(workspace, places=places)
    found = {str(p.relative_to(remote)): p.read_text() for p in remote.rglob("*") if p.is_file()}
    assert found == {
        "mine.pth": "mine",
        "same.pth": "same",
        "both.pth": "drive version",
        "both.local-1.pth": "local version",
        "deep/down.txt": "deep",
    }
    assert (workspace / "weights").is_symlink()
    assert storage.links[0].kept_both == ("both.local-1.pth",)
    assert [p.name for p in workspace.iterdir() if p.name.startswith(".moved")] == []


def test_a_full_drive_leaves_the_local_folder_whole(
    colab: FakeColab, places: Places, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.pth", "b.pth", "c.pth"):
        _put(workspace / "weights" / name, name)
    copy = links.copy_verified

    def full_at_b(source: Path, target: Path) -> str:
        if source.name == "b.pth":
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target)

    monkeypatch.setattr(links, "copy_verified", full_at_b)
    storage = open_storage(workspace, places=places)
    assert storage.refusal is not None and storage.refusal.kind == "full"
    assert sorted(p.name for p in (workspace / "weights").iterdir()) == ["a.pth", "b.pth", "c.pth"]
    monkeypatch.undo()


def test_a_merge_cut_off_before_the_link_is_finished(tmp_path: Path) -> None:
    _put(tmp_path / "workspace/.moved-to-drive-weights.aside-1/late.pth", "late")
    local, remote = tmp_path / "workspace/weights", tmp_path / "drive/weights"
    links.link_folder(local, remote)
    assert (local / "late.pth").read_text() == "late"
    assert not (tmp_path / "workspace/.moved-to-drive-weights.aside-1").exists()


def test_linking_twice_copies_nothing_twice(tmp_path: Path) -> None:
    local, remote = tmp_path / "workspace/weights", tmp_path / "drive/weights"
    _put(remote / "a.pth", "theirs")
    for _ in range(2):  # the person made the folder anew, with the same file
        if local.is_symlink():
            local.unlink()
        _put(local / "a.pth", "mine")
        links.link_folder(local, remote)
    assert sorted(p.name for p in remote.iterdir()) == ["a.local-1.pth", "a.pth"]


def test_a_drive_without_links_is_refused_with_words(
    colab: FakeColab, places: Places, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    mount(places)
    monkeypatch.setattr(links.os, "symlink", refuse)
    storage = open_storage(workspace, places=places)
    assert storage.refusal is not None and storage.refusal.kind == "no_links"


def test_flush_unmounts_and_says_what_to_look_at(
    colab: FakeColab, places: Places, workspace: Path
) -> None:
    storage = open_storage(workspace, places=places)
    words = flush(storage, places)
    assert "drive.google.com" in words and "flush" in colab.asked
    assert (workspace / "weights").is_dir() and not (workspace / "weights").is_symlink()


def test_a_failed_flush_is_an_error_with_its_words(
    colab: FakeColab, places: Places, workspace: Path
) -> None:
    storage = open_storage(workspace, places=places)
    colab.flush_failure = "yes"
    with pytest.raises(NotebookError, match="did not take all files"):
        flush(storage, places)


def test_after_a_flush_the_drive_can_be_opened_again(
    colab: FakeColab, places: Places, workspace: Path
) -> None:
    flush(open_storage(workspace, places=places), places)
    (workspace / "weights" / "between.pth").write_text("x")
    storage = open_storage(workspace, places=places)
    assert storage.kind == "drive"
    assert (places.drive / "MyDrive/RVC_Colab/weights/between.pth").exists()


def test_on_kaggle_the_output_folder_is_the_storage(
    kaggle: FakeSecrets, places: Places, workspace: Path
) -> None:
    storage = open_storage(workspace, places=places)
    assert storage.kind == "kaggle" and "Save Version" in storage.in_words()
    (Workspace(workspace).weights / "a.pth").write_text("x")
    assert (places.kaggle_output / "RVC_Colab/weights/a.pth").exists()
    assert "Save Version" in flush(storage, places)


def test_on_kaggle_a_workspace_in_the_output_needs_no_links(
    kaggle: FakeSecrets, places: Places
) -> None:
    storage = open_storage(places.kaggle_output / "RVC_Colab", places=places)
    assert storage.kind == "kaggle" and storage.links == ()


def test_a_plain_machine_keeps_its_workspace(places: Places, workspace: Path) -> None:
    storage = open_storage(workspace, places=places)
    assert (storage.kind, storage.root) == ("local", workspace)
    assert str(workspace) in flush(storage)


def test_kaggles_inputs_are_listed_by_kind(kaggle: FakeSecrets, places: Places) -> None:
    _put(places.kaggle_input / "voices/v1/a.PTH", "x")
    _put(places.kaggle_input / "voices/readme.md", "x")
    assert [p.name for p in inputs(places=places)] == ["a.PTH"]


def test_everything_is_exported_as_one_zip(places: Places, tmp_path: Path) -> None:
    _put(tmp_path / "drive/weights/a.pth", "a")
    _put(tmp_path / "drive/weights/b.pth.12.partial", "half")
    (tmp_path / "weights").symlink_to(tmp_path / "drive/weights")
    song = _put(tmp_path / "song.wav", "song")
    made = export_zip([tmp_path / "weights", song], tmp_path / "results.zip")
    with zipfile.ZipFile(made) as archive:
        assert sorted(archive.namelist()) == ["song.wav", "weights/a.pth"]


def test_an_empty_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="nothing to export"):
        export_zip([tmp_path / "none"], tmp_path / "results.zip")
