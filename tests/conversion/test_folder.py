from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stand_ins import PLAIN, identity_converter, speech_like

from rvc_colab.conversion.folder import plan_folder, settle_paths
from rvc_colab.conversion.run import convert_folder
from rvc_colab.errors import AudioError, Cancelled
from rvc_colab.progress import SilentProgress


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.wav", "a.flac", "deeper/a.wav", "ünïcode 🎤.wav"):
        soundfile.write(folder / name, speech_like(0.3), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF not really")
    (folder / "notes.txt").write_text("no sound")
    (folder / ".hidden.wav").write_bytes(b"")
    return folder


def _plan(folder: Path, *names: str, format: str = "wav") -> dict[str, str]:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    pairs, _ = plan_folder(folder, folder.parent / "out", format)
    return {source.name: target.name for source, target in pairs}


def test_files_of_one_name_get_results_of_different_names(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "in", "a.mp3", "a.wav", "a.ogg", "A.flac", "a_mp3.wav")
    assert plan["a.wav"] == "a.wav" and plan["a_mp3.wav"] == "a_mp3.wav"
    assert plan["a.ogg"] == "a_ogg.wav"
    assert len({name.casefold() for name in plan.values()}) == len(plan) == 5


def test_the_wanted_format_decides_who_keeps_the_plain_name(tmp_path: Path) -> None:
    assert _plan(tmp_path / "in", "a.mp3", "a.wav", format="mp3") == {
        "a.mp3": "a.mp3",
        "a.wav": "a_wav.mp3",
    }


def test_a_bad_file_is_named_and_the_rest_is_converted(sounds: Path, tmp_path: Path) -> None:
    result = convert_folder(sounds, tmp_path / "out", identity_converter(), PLAIN)
    assert [failure.source.name for failure in result.failures] == ["broken.wav"]
    assert result.failures[0].message and result.skipped == 1
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert written == {"a.wav", "a_flac.wav", "deeper/a.wav", "ünïcode 🎤.wav"}
    assert "broken.wav" in result.in_words() and result.record()["skipped"] == 1


def test_results_inside_the_source_are_not_converted_again(sounds: Path) -> None:
    for _ in range(2):
        result = convert_folder(sounds, sounds / "out", identity_converter(), PLAIN)
        assert len(result.converted) == 4


def test_a_stop_ends_the_folder(sounds: Path, tmp_path: Path) -> None:
    progress = SilentProgress()
    progress.cancel()
    with pytest.raises(Cancelled):
        convert_folder(sounds, tmp_path / "out", identity_converter(), PLAIN, progress)


@pytest.mark.parametrize("case", ["same", "empty", "missing", "file", "format"])
def test_folders_that_cannot_work_are_refused(tmp_path: Path, case: str) -> None:
    source, target, format = tmp_path / "in", tmp_path / "out", "wav"
    if case != "missing":
        source.mkdir()
    if case in {"same", "file", "format"}:
        soundfile.write(source / "a.wav", np.zeros(800), 16000)
    if case == "same":
        target = source
    if case == "file":
        target.touch()
    if case == "format":
        format = "xyz"
    with pytest.raises(AudioError) as error:
        convert_folder(source, target, identity_converter(), PLAIN, None, format)
    assert error.value.hint


@pytest.mark.parametrize("target", ["there", "there/", "new/"])
def test_a_file_goes_into_a_folder_under_its_own_name(tmp_path: Path, target: str) -> None:
    source = tmp_path / "song.mp3"
    source.write_bytes(b"ID3 anything")
    (tmp_path / "there").mkdir()
    goal = settle_paths(source, f"{tmp_path}/{target}", "flac")[1]
    assert goal == tmp_path / target / "song.flac"


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("", "out.wav", "INPUT is empty"),
        ("a.wav", " ", "OUTPUT is empty"),
        ("gone", "out", "gone does not exist"),
        ("a.wav", "out.xyz", "'.xyz'"),
        ("a.wav", "x" * 300 + ".wav", "cannot be written: File name too long"),
        ("a.wav", "a\0b.wav", "cannot be written"),
        ("a.wav", "a.wav/b.wav", "cannot be written: Not a directory"),
        (".", "a.wav", "a.wav is a file"),
    ],
)
def test_paths_that_cannot_work_are_refused_before_a_voice_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.wav").write_bytes(b"RIFF anything")
    with pytest.raises(AudioError, match=re.escape(words)) as error:
        settle_paths(source, target)
    assert error.value.hint
