"""Names that every file system takes, and files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvc_colab.errors import ConfigError
from rvc_colab.workspace import Workspace, safe_name, write_atomically


@pytest.mark.parametrize("name", ["anna", "Müller 2", "声", "a.b-c_d"])
def test_plain_names_of_any_script_are_kept(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "..",
        ".",
        "a/b",
        "a\\b",
        "../x",
        "🎤",
        "x" * 200,
        "CON",
        "demo",
        ".x",
        "a\nb",
        "a:b",
        "x.",
        "odd\udcff",
    ],
)
def test_names_that_could_leave_their_folder_or_break_a_file_system_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        safe_name(name)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "voice.pth"
    target.write_text("old")
    with pytest.raises(RuntimeError), write_atomically(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_whole_write_replaces_the_file_and_keeps_its_suffix(tmp_path: Path) -> None:
    target = tmp_path / "new" / "sound.wav"
    with write_atomically(target) as temporary:
        assert temporary.suffix == ".wav" and temporary.parent == target.parent
        temporary.write_text("new")
    assert target.read_text() == "new" and list(target.parent.iterdir()) == [target]


def test_the_argument_wins_over_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVC_WORKSPACE", str(tmp_path / "a"))
    assert Workspace.locate().root == tmp_path / "a"
    assert Workspace.locate(tmp_path / "b").weights == tmp_path / "b" / "weights"


def test_a_workspace_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        _ = Workspace(tmp_path / "file").weights


def test_a_name_as_long_as_the_disk_takes_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 125 + ".wav")
    with write_atomically(target) as temporary:
        temporary.write_bytes(b"x")
    assert target.read_bytes() == b"x"


def test_workspaces_that_share_a_cache_keep_their_diaries_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVC_CACHE", str(tmp_path / "cache"))
    one, two = (Workspace(tmp_path / name).tensorboard("anna") for name in ("one", "two"))
    assert one != two and one.parent == two.parent
    assert one == Workspace(tmp_path / "one").tensorboard("anna")
