"""Importing voices: from anywhere, checked, nothing half done and nothing overwritten."""

import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from rvc_colab.errors import AssetError, VoiceError
from rvc_colab.store import voice_import
from rvc_colab.store.checkpoint import TrainingCheckpoint, read_voice, write_training_checkpoint
from rvc_colab.store.voice_import import import_voice
from rvc_colab.store.voices import show_voice
from rvc_colab.workspace import Workspace

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
VOICE = GOLDEN / "tiny_v2_f0_32k.pth"
OTHER = GOLDEN / "tiny_v1_f0_40k.pth"
INDEX = GOLDEN / "tiny_added_IVF6_Flat_nprobe_1_tiny_v2.index"
ADDED = "added_IVF6_Flat_nprobe_1_ann_v2.index"


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


def zipped(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


def kept(workspace):
    return sorted(
        str(path.relative_to(workspace.root))
        for path in workspace.root.rglob("*")
        if path.is_file()
    )


def test_single_file(workspace, tmp_path):
    shutil.copyfile(VOICE, tmp_path / "ann.pth")
    card = import_voice(str(tmp_path / "ann.pth"), workspace).card
    assert (card.name, card.path) == ("ann", workspace.weights / "ann.pth")
    assert kept(workspace) == ["weights/ann.pth"]


def test_single_file_with_its_index_beside(workspace, tmp_path):
    shutil.copyfile(VOICE, tmp_path / "ann.pth")
    shutil.copyfile(INDEX, tmp_path / ADDED)
    assert import_voice(str(tmp_path / "ann.pth"), workspace).card.index is not None


def test_zip_with_index(workspace, tmp_path):
    source = zipped(
        tmp_path / "a.zip", {"voice/ann.pth": VOICE, f"voice/{ADDED}": INDEX, "readme.txt": b"hi"}
    )
    assert import_voice(str(source), workspace).card.name == "ann"
    assert kept(workspace) == ["indexes/ann.index", "weights/ann.pth"]


def test_zip_with_an_index_of_another_name(workspace, tmp_path):
    source = zipped(
        tmp_path / "a.zip", {"model.pth": VOICE, "trained_x.index": b"", "x.index": INDEX}
    )
    assert import_voice(str(source), workspace, "ann").card.index == workspace.indexes / "ann.index"


def test_folder_of_another_program(workspace, tmp_path):
    folder = tmp_path / "logs" / "ann"
    folder.mkdir(parents=True)
    shutil.copyfile(VOICE, folder / "ann_20e_1000s.pth")
    shutil.copyfile(INDEX, folder / ADDED)
    (folder / "G_2333333.pth").write_bytes(b"no voice")
    card = import_voice(str(folder), workspace, "ann").card
    assert card.index is not None


def test_web_address(workspace, web):
    web.content = VOICE.read_bytes()
    card = import_voice(f"{web.url}/files/My%20Voice.pth?download=1", workspace).card
    assert card.name == "My Voice"


def test_web_address_of_a_zip_without_its_extension(workspace, web, tmp_path):
    web.content = zipped(tmp_path / "a.zip", {"ann.pth": VOICE}).read_bytes()
    assert import_voice(f"{web.url}/download", workspace).card.name == "ann"


def test_web_page_instead_of_a_voice(workspace, web):
    web.content = b"<!doctype html>sign in"
    with pytest.raises(AssetError, match="web page"):
        import_voice(f"{web.url}/ann.pth", workspace)
    assert kept(workspace) == []


@pytest.fixture
def hub(monkeypatch):
    """A repository with the given files."""
    served = {}

    def hub_file(repo, name, folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(served[name], path)
        return path

    monkeypatch.setattr(voice_import, "hub_listing", lambda repo: sorted(served))
    monkeypatch.setattr(voice_import, "hub_file", hub_file)
    return served


@pytest.mark.parametrize(
    "source",
    [
        "owner/repo",
        "https://huggingface.co/owner/repo",
        "https://huggingface.co/owner/repo/tree/main",
    ],
)
def test_hub_repository(workspace, hub, source):
    hub.update({"ann.pth": VOICE, ADDED: INDEX, "README.md": VOICE})
    assert import_voice(source, workspace).card.index is not None


@pytest.mark.parametrize(
    "source",
    [
        "owner/repo/sub/bob.pth",
        "https://huggingface.co/owner/repo/resolve/main/sub/bob.pth?download=true",
    ],
)
def test_hub_file(workspace, hub, source):
    hub.update({"ann.pth": VOICE, "sub/bob.pth": OTHER})
    assert import_voice(source, workspace).card.version == "v1"


def test_hub_repository_with_several_voices_asks_which(workspace, hub):
    hub.update({"ann.pth": VOICE, "bob.pth": OTHER})
    with pytest.raises(VoiceError) as caught:
        import_voice("owner/repo", workspace)
    assert "ann.pth, bob.pth" in caught.value.message
    assert "owner/repo/FILE" in caught.value.hint


def test_drive_link(workspace, monkeypatch):
    def drive_file(file_id, folder):
        return shutil.copyfile(VOICE, folder / "ann.pth")

    monkeypatch.setattr(voice_import, "drive_file", drive_file)
    link = "https://drive.google.com/file/d/1AbC_def-0123456789/view"
    assert import_voice(link, workspace).card.name == "ann"


def test_existing_voice_is_not_overwritten(workspace):
    import_voice(str(VOICE), workspace, "ann")
    with pytest.raises(VoiceError, match="There is a voice ann already"):
        import_voice(str(OTHER), workspace, "ann")
    assert show_voice("ann", workspace).version == "v2"


def test_replaced_voice_goes_to_the_trash(workspace):
    import_voice(str(VOICE), workspace, "ann")
    assert import_voice(str(OTHER), workspace, "ann", replace=True).card.version == "v1"
    assert (workspace.root / "trash" / "ann" / "ann.pth").read_bytes() == VOICE.read_bytes()


def test_index_of_another_width_is_left_out_in_words(workspace, tmp_path):
    source = zipped(tmp_path / "a.zip", {"ann.pth": OTHER, "ann.index": INDEX})
    result = import_voice(str(source), workspace)
    assert result.card.index is None
    assert "index was left out" in result.warnings[0]


def test_damaged_voice_gets_no_name(workspace, tmp_path):
    path = tmp_path / "ann.pth"
    path.write_bytes(VOICE.read_bytes()[:100_000])
    with pytest.raises(VoiceError):
        import_voice(str(path), workspace)
    assert kept(workspace) == []


@pytest.mark.parametrize(
    "entry", ["../ann.pth", "/etc/ann.pth", "a/../../ann.pth", "..\\ann.pth", "C:\\ann.pth"]
)
def test_zip_slip_is_refused(workspace, tmp_path, entry):
    source = zipped(tmp_path / "a.zip", {entry: VOICE})
    with pytest.raises(VoiceError, match="leaves its folder"):
        import_voice(str(source), workspace)
    assert kept(workspace) == []


def test_zip_bomb_is_refused(workspace, tmp_path):
    source = zipped(tmp_path / "a.zip", {"ann.pth": bytes(30_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(VoiceError, match="unpacks to 30 MB"):
        import_voice(str(source), workspace)


def test_zip_over_the_greatest_size_is_refused(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(voice_import, "MAX_BYTES", 1000)
    with pytest.raises(VoiceError, match="unpacks to"):
        import_voice(str(zipped(tmp_path / "a.zip", {"ann.pth": VOICE})), workspace)


def test_zip_with_too_many_files_is_refused(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(voice_import, "MAX_ENTRIES", 2)
    source = zipped(tmp_path / "a.zip", {f"{n}.txt": b"" for n in range(3)})
    with pytest.raises(VoiceError, match="holds 3 files"):
        import_voice(str(source), workspace)


def test_damaged_zip_is_refused(workspace, tmp_path):
    source = zipped(tmp_path / "a.zip", {"ann.pth": VOICE})
    content = bytearray(source.read_bytes())
    content[5000:9000] = bytes(4000)
    source.write_bytes(bytes(content))
    with pytest.raises(VoiceError, match="cannot be unpacked"):
        import_voice(str(source), workspace)


def test_zip_without_a_voice_is_refused(workspace, tmp_path):
    with pytest.raises(VoiceError, match="holds no voice"):
        import_voice(str(zipped(tmp_path / "a.zip", {"readme.txt": b"hi"})), workspace)


def test_zip_with_several_voices_is_refused(workspace, tmp_path):
    source = zipped(tmp_path / "a.zip", {"ann.pth": VOICE, "bob.pth": OTHER})
    with pytest.raises(VoiceError, match="holds 2 voices"):
        import_voice(str(source), workspace)


@pytest.mark.parametrize("name", ["a/b", "..", "🎤", "demo", ""])
def test_bad_name_is_refused_before_anything_comes(workspace, name):
    with pytest.raises(VoiceError):
        import_voice(str(VOICE), workspace, name)
    assert kept(workspace) == []


def test_name_of_a_file_is_cleaned(workspace, tmp_path):
    shutil.copyfile(VOICE, tmp_path / "ann 🎤 (v2).pth")
    assert import_voice(str(tmp_path / "ann 🎤 (v2).pth"), workspace).card.name == "ann _ _v2_"


@pytest.mark.parametrize("source", ["", "nothing", "../x/y", "ftp://x/y.pth", "\0", "x" * 5000])
def test_nothing_there_is_told(workspace, source):
    with pytest.raises(VoiceError, match="nothing to import"):
        import_voice(source, workspace)


def test_full_disk_leaves_no_voice(workspace, monkeypatch):
    def full(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(voice_import.shutil, "copyfile", full)
    with pytest.raises(VoiceError, match="No space left"):
        import_voice(str(VOICE), workspace, "ann")
    assert kept(workspace) == []


def test_generator_checkpoint_becomes_a_voice(workspace, golden, tmp_path):
    state = torch.load(golden / "training" / "c_v2_f0_48k_state.pth", weights_only=True)["G"]
    path = tmp_path / "run" / "G_120.pth"
    path.parent.mkdir()
    write_training_checkpoint(path, TrainingCheckpoint(state, "generator", epoch=7))
    (path.parent / "D_120.pth").write_bytes(b"damaged")
    for source in (path, path.parent):
        made = import_voice(str(source), workspace, f"of-{source.stem}")
        assert (made.card.epoch, made.card.version, made.card.sample_rate) == (7, "v2", 48000)
        assert "training checkpoint" in made.warnings[0]
        assert set(read_voice(made.card.path).weights) == {k for k in state if "enc_q" not in k}


def test_failed_download_names_no_folder_that_is_gone(workspace, monkeypatch):
    monkeypatch.setattr("rvc_colab.store.downloads.PAUSE_SECONDS", 0.0)
    with pytest.raises(AssetError) as caught:
        import_voice("http://127.0.0.1:1/v.pth", workspace)
    assert str(workspace.cache) not in caught.value.hint and caught.value.hint
