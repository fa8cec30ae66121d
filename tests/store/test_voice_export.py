"""Exporting voices: one zip, or a folder that both families of programs read."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from rvc_colab.errors import VoiceError
from rvc_colab.store.voice_export import export_voice
from rvc_colab.store.voice_import import import_voice
from rvc_colab.workspace import Workspace

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
VOICE = GOLDEN / "tiny_v2_f0_32k.pth"
INDEX = GOLDEN / "tiny_added_IVF6_Flat_nprobe_1_tiny_v2.index"
ADDED = "added_IVF6_Flat_nprobe_1_ann_v2.index"


@pytest.fixture
def workspace(tmp_path):
    space = Workspace(tmp_path / "space")
    shutil.copyfile(VOICE, space.weights / "ann.pth")
    shutil.copyfile(INDEX, space.indexes / "ann.index")
    return space


def test_zip_holds_voice_index_and_card(workspace, tmp_path):
    path = export_voice("ann", tmp_path / "ann.zip", workspace)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["ann.pth", ADDED, "card.json"]
        assert archive.read("ann.pth") == VOICE.read_bytes()
        card = json.loads(archive.read("card.json"))
    assert (card["version"], card["sample_rate"]) == ("v2", 32000)
    assert "path" not in card


def test_exported_zip_can_be_imported(workspace, tmp_path):
    path = export_voice("ann", tmp_path / "ann.zip", workspace)
    assert import_voice(str(path), workspace, "eve").card.index is not None


def test_folder_has_the_index_under_both_habits(workspace, tmp_path):
    folder = export_voice("ann", tmp_path / "out", workspace)
    assert sorted(path.name for path in folder.iterdir()) == [
        ADDED,
        "ann.index",
        "ann.json",
        "ann.pth",
    ]


def test_voice_without_index(workspace, tmp_path):
    (workspace.indexes / "ann.index").unlink()
    with zipfile.ZipFile(export_voice("ann", tmp_path / "ann.zip", workspace)) as archive:
        assert archive.namelist() == ["ann.pth", "card.json"]


@pytest.mark.parametrize("target", ["ann.zip", "out"])
def test_nothing_is_overwritten(workspace, tmp_path, target):
    export_voice("ann", tmp_path / target, workspace)
    with pytest.raises(VoiceError, match="exists already"):
        export_voice("ann", tmp_path / target, workspace)
    export_voice("ann", tmp_path / target, workspace, replace=True)


def test_unwritable_target_is_told(workspace, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VoiceError, match="cannot be written"):
        export_voice("ann", tmp_path / "file" / "ann.zip", workspace)


def test_damaged_index_is_told(workspace, tmp_path):
    (workspace.indexes / "ann.index").write_bytes(b"<html>")
    with pytest.raises(VoiceError, match="index of ann cannot be exported"):
        export_voice("ann", tmp_path / "ann.zip", workspace)
    assert not (tmp_path / "ann.zip").exists()


@pytest.mark.parametrize("name", ["", " ", "a\0b.zip"])
def test_impossible_name_is_told(workspace, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(VoiceError) as caught:
        export_voice("ann", name, workspace)
    assert caught.value.hint and sorted(tmp_path.iterdir()) == before
