"""The library of voices: found by name, never overwritten, never lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rvc_colab.errors import VoiceError
from rvc_colab.store import voices
from rvc_colab.store.voices import (
    find_index,
    find_voice,
    list_voices,
    remove_voice,
    rename_voice,
    restore_voice,
    show_voice,
    voice_name,
)
from rvc_colab.workspace import Workspace

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
VOICE = GOLDEN / "tiny_v2_f0_32k.pth"
INDEX = GOLDEN / "tiny_added_IVF6_Flat_nprobe_1_tiny_v2.index"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace with the voice ann, its index and card; no embedded voice."""
    monkeypatch.setattr(voices, "DEMO_VOICE", "nothing.pth")
    monkeypatch.setattr(voices, "DEMO_INDEX", "nothing.index")
    space = Workspace(tmp_path / "space")
    shutil.copyfile(VOICE, space.weights / "ann.pth")
    shutil.copyfile(INDEX, space.indexes / "added_IVF6_Flat_nprobe_1_ann_v2.index")
    (space.weights / "ann.json").write_text("{}")
    return space


def everything(workspace):
    return sorted(
        str(path.relative_to(workspace.root))
        for path in workspace.root.rglob("*")
        if path.is_file()
    )


def test_card_says_what_the_voice_is(workspace):
    card = show_voice("ann", workspace)
    assert (card.name, card.version, card.sample_rate, card.has_f0) == ("ann", "v2", 32000, True)
    assert card.index.name == "added_IVF6_Flat_nprobe_1_ann_v2.index"
    assert "v2, 32 kHz, pitch" in card.summary


def test_record_is_plain(workspace):
    import json

    assert json.loads(json.dumps(show_voice("ann", workspace).record()))["sample_rate"] == 32000


def test_broken_files_are_listed_with_their_problem(workspace):
    (workspace.weights / "page.pth").write_bytes(b"<html>quota exceeded</html>")
    cards = {card.name: card for card in list_voices(workspace)}
    assert cards["ann"].problem == ""
    assert "web page" in cards["page"].problem


def test_temporary_files_are_no_voices(workspace):
    shutil.copyfile(VOICE, workspace.weights / ".bob.12.partial.pth")
    assert [card.name for card in list_voices(workspace)] == ["ann"]


def test_embedded_voice_comes_first(workspace, monkeypatch):
    files = {"demo.pth": VOICE, "demo.index": INDEX}
    monkeypatch.setattr(voices, "DEMO_VOICE", "demo.pth")
    monkeypatch.setattr(voices, "DEMO_INDEX", "demo.index")
    monkeypatch.setattr(voices, "bundled", lambda name: files[name])
    demo = list_voices(workspace)[0]
    assert (demo.name, demo.index) == ("demo", INDEX)
    assert find_voice("Demo", workspace) == VOICE
    assert find_index("demo") == INDEX
    with pytest.raises(VoiceError, match="part of the package"):
        remove_voice("demo", workspace)


def test_missing_embedded_voice_is_told(workspace):
    with pytest.raises(VoiceError, match="is missing"):
        find_voice("demo", workspace)


@pytest.mark.parametrize("asked", ["ann", "ann.pth", " ann "])
def test_voice_is_found_by_name(workspace, asked):
    assert find_voice(asked, workspace) == workspace.weights / "ann.pth"


def test_voice_is_found_by_path_and_by_folder(workspace):
    path = workspace.weights / "ann.pth"
    assert find_voice(path, workspace) == path
    assert find_voice(workspace.weights, workspace) == path


def test_name_in_the_workspace_goes_before_a_file_here(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann").mkdir()
    assert find_voice("ann", workspace) == workspace.weights / "ann.pth"


def test_missing_voice_names_the_closest(workspace):
    with pytest.raises(VoiceError) as caught:
        find_voice("anne", workspace)
    assert "There are ann, demo" in caught.value.hint


@pytest.mark.parametrize("asked", ["", "../ann", "a/b", "\0", "x" * 5000, "~nobody/x", "😀"])
def test_odd_names_are_not_found_in_words(workspace, asked):
    with pytest.raises(VoiceError, match="There is no voice"):
        find_voice(asked, workspace)


def test_folder_with_several_voices_is_refused(workspace):
    shutil.copyfile(VOICE, workspace.weights / "bob.pth")
    with pytest.raises(VoiceError, match=r"holds 2 voices \(ann.pth, bob.pth\)"):
        find_voice(workspace.weights, workspace)


@pytest.mark.parametrize(
    "file",
    [
        "bob.index",
        "Bob.index",
        "added_IVF6_Flat_nprobe_1_bob_v2.index",
        "bob_added_IVF6_Flat_nprobe_1_bob_v2.index",
        "bob/added_IVF6_Flat_nprobe_1_bob_v2.index",
        "bob/bob.index",
    ],
)
def test_index_is_found_by_every_habit(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert find_index("bob", tmp_path) == path


@pytest.mark.parametrize("stem", ["bob_e20_s1000", "bob_20e_1000s", "bob_20e_1000s_best_epoch"])
def test_voice_of_an_earlier_step_takes_the_index_of_its_run(tmp_path, stem):
    (tmp_path / "bob.index").write_bytes(b"x")
    assert find_index(stem, tmp_path) == tmp_path / "bob.index"


@pytest.mark.parametrize(
    "file", ["trained_IVF6_Flat_nprobe_1_bob_v2.index", "bobby.index", "bob.txt"]
)
def test_other_files_are_no_index_of_the_voice(tmp_path, file):
    (tmp_path / file).write_bytes(b"x")
    assert find_index("bob", tmp_path) is None


def test_index_of_the_right_version_is_preferred(tmp_path):
    for version in ("v1", "v2"):
        (tmp_path / f"added_IVF6_Flat_nprobe_1_bob_{version}.index").write_bytes(b"x")
    assert find_index("bob", tmp_path, "v1").name.endswith("v1.index")
    assert find_index("bob", tmp_path, "v2").name.endswith("v2.index")


def test_only_index_beside_the_only_voice_is_taken(tmp_path):
    shutil.copyfile(VOICE, tmp_path / "model.pth")
    shutil.copyfile(INDEX, tmp_path / "whatever.index")
    assert find_index(tmp_path / "model.pth", None) == tmp_path / "whatever.index"


def test_foreign_index_among_many_voices_is_not_taken(workspace):
    shutil.copyfile(VOICE, workspace.weights / "bob.pth")
    assert find_index(workspace.weights / "bob.pth", workspace.indexes) is None


def test_removed_voice_comes_back_as_it_was(workspace):
    before = everything(workspace)
    folder = remove_voice("ann", workspace)
    assert folder == workspace.root / "trash" / "ann"
    assert list_voices(workspace) == []
    restore_voice("ann", workspace)
    assert everything(workspace) == before


def test_removing_twice_keeps_both(workspace):
    remove_voice("ann", workspace)
    shutil.copyfile(GOLDEN / "tiny_v1_f0_40k.pth", workspace.weights / "ann.pth")
    remove_voice("ann", workspace)
    assert show_voice(restore_voice("ann", workspace), workspace).version == "v1"
    remove_voice("ann", workspace)


def test_restoring_overwrites_nothing(workspace):
    remove_voice("ann", workspace)
    shutil.copyfile(VOICE, workspace.weights / "ann.pth")
    with pytest.raises(VoiceError, match="exists already"):
        restore_voice("ann", workspace)
    assert (workspace.root / "trash" / "ann" / "ann.pth").is_file()


def test_restoring_what_was_never_removed(workspace):
    with pytest.raises(VoiceError, match="holds no voice 'bob'"):
        restore_voice("bob", workspace)


def test_restoring_stays_inside_the_workspace(workspace):
    folder = remove_voice("ann", workspace)
    (folder / "removed.json").write_text('{"ann.pth": "../../outside.pth"}')
    with pytest.raises(VoiceError, match="damaged"):
        restore_voice("ann", workspace)


def test_voice_outside_the_workspace_is_not_removed(workspace):
    with pytest.raises(VoiceError, match="outside the workspace"):
        remove_voice(str(VOICE), workspace)
    assert VOICE.is_file()


def test_renaming_takes_card_and_index_along(workspace):
    rename_voice("ann", "eve", workspace)
    assert everything(workspace) == [
        "indexes/added_IVF6_Flat_nprobe_1_eve_v2.index",
        "weights/eve.json",
        "weights/eve.pth",
    ]


def test_renaming_keeps_both_of_two_indexes(workspace):
    shutil.copyfile(INDEX, workspace.indexes / "ann_added_IVF6_Flat_nprobe_1_ann_v2.index")
    rename_voice("ann", "eve", workspace)
    assert len(list(workspace.indexes.iterdir())) == 2


def test_renaming_overwrites_nothing(workspace):
    shutil.copyfile(VOICE, workspace.weights / "eve.pth")
    with pytest.raises(VoiceError, match="exists already"):
        rename_voice("ann", "eve", workspace)
    assert show_voice("ann", workspace).index is not None


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "a\\b", "nul", "COM1.x", "demo", "🎤", "x" * 121, ".x", "a\nb"]
)
def test_names_that_no_disk_takes_are_refused(name):
    with pytest.raises(VoiceError):
        voice_name(name)


@pytest.mark.parametrize("name", ["my voice-2", "声", "Émile_v1.5"])
def test_names_of_any_script_are_taken(name):
    assert voice_name(name) == name


def test_index_of_another_voice_is_refused_by_its_width(workspace):
    from rvc_colab.errors import IndexFileError
    from rvc_colab.features.retrieval import read_index

    index = show_voice("ann", workspace).index
    assert np.isfinite(read_index(index, 768).vectors).all()
    with pytest.raises(IndexFileError, match="of another voice"):
        read_index(index, 256)
