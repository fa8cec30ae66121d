"""Recordings are found where people put them, and what is unpacked is whole."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from rvc_colab.audio.files import read
from rvc_colab.errors import AudioError, DatasetError
from rvc_colab.notebook.materials import find_sound, recordings_folder, sliced_clip
from rvc_colab.store.assets import bundled


def test_the_parts_of_the_clip_are_the_clip(tmp_path: Path) -> None:
    parts = [read(path)[0] for path in sliced_clip(tmp_path)]
    whole, _ = read(bundled("clip.wav"))
    assert len(parts) >= 2
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_clip_is_cut_where_it_is_quiet(tmp_path: Path) -> None:
    first, second = (read(path)[0] for path in sliced_clip(tmp_path)[:2])
    whole, rate = read(bundled("clip.wav"))
    edge = np.concatenate([first[-rate // 100 :], second[: rate // 100]])
    assert np.sqrt(np.mean(edge**2)) < 0.3 * np.sqrt(np.mean(whole**2))


def test_a_path_inside_the_storage_is_found(tmp_path: Path) -> None:
    song = tmp_path / "recordings" / "song.wav"
    song.parent.mkdir()
    song.touch()
    assert find_sound("recordings/song.wav", [tmp_path]) == song
    assert find_sound("song.wav", [tmp_path]) == song
    assert find_sound(str(song), []) == song


def test_nothing_found_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"song\.wav"):
        find_sound("song.wav", [tmp_path])


def test_one_file_becomes_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(b"other")
    song = tmp_path / "song.wav"
    song.write_bytes(b"song")
    folder = recordings_folder(song, tmp_path / "scratch")
    assert [path.name for path in folder.iterdir()] == ["song.wav"]


def test_a_changed_zip_is_unpacked_again(tmp_path: Path) -> None:
    archive = tmp_path / "mine.zip"
    found = []
    for content in (b"1", b"22"):
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("one.wav", content)
        found.append((recordings_folder(archive, tmp_path / "s") / "one.wav").read_bytes())
    assert found == [b"1", b"22"]


def test_a_zip_cut_short_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("one.wav", bytes(range(256)) * 40)
    data = bytearray(archive.read_bytes())
    data[100] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DatasetError, match=r"mine\.zip cannot be unpacked"):
        recordings_folder(archive, tmp_path / "scratch")
    assert not list((tmp_path / "scratch").iterdir())
