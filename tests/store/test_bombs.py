from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from rvc_colab.errors import VoiceError
from rvc_colab.store.checkpoint import load_tensors, read_voice

VOICE = Path(__file__).parent.parent / "golden" / "inference" / "tiny_v1_f0_40k.pth"


def _repacked(source: Path, target: Path) -> Path:
    with (
        zipfile.ZipFile(source) as stored,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    return target


def test_a_repacked_voice_is_read_as_it_was(tmp_path: Path) -> None:
    voice, again = read_voice(VOICE), read_voice(_repacked(VOICE, tmp_path / "packed.pth"))
    assert all(torch.equal(again.weights[key], value) for key, value in voice.weights.items())


def test_a_file_that_unpacks_a_hundredfold_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": {}, "more": torch.zeros(10_000_000)}, tmp_path / "large.pth")
    packed = _repacked(tmp_path / "large.pth", tmp_path / "bomb.pth")
    with pytest.raises(VoiceError, match="unpacks to 40 MB"):
        load_tensors(packed)


def test_a_pickle_larger_than_any_list_of_tensors_is_not_unpickled(tmp_path: Path) -> None:
    torch.save({"weight": {}, "more": "0" * 9_000_000}, tmp_path / "many.pth")
    with pytest.raises(VoiceError, match="no tensors"):
        load_tensors(tmp_path / "many.pth")


def test_many_objects_in_a_file_of_the_old_kind_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvc_colab.store.bombs.MOST_STEPS", 10_000)
    path = tmp_path / "old.pth"
    with path.open("wb") as handle:
        for value in (0x1950A86A20F9469CFC6C, 1001, {}, [{} for _ in range(12_000)]):
            pickle.dump(value, handle, protocol=2)
    with pytest.raises(VoiceError, match="objects besides tensors"):
        load_tensors(path)


def test_a_file_of_the_old_kind_is_read(tmp_path: Path) -> None:
    content = {"weight": {"a": torch.arange(5.0)}}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_tensors(tmp_path / "old.pth")["weight"]["a"], torch.arange(5.0))


@pytest.mark.parametrize("shape", [(1 << 40,), (5000, 5000)])
def test_a_tensor_that_claims_more_than_is_there_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    torch.save({"weight": {"a": torch.zeros(1).expand(shape)}}, tmp_path / "claim.pth")
    with pytest.raises(VoiceError, match="claims tensors"):
        load_tensors(tmp_path / "claim.pth")


def test_one_storage_under_many_names_counts_each_time(tmp_path: Path) -> None:
    one = torch.zeros(1_000_000)
    torch.save({"weight": {str(n): one for n in range(100)}}, tmp_path / "many.pth")
    with pytest.raises(VoiceError, match="claims tensors of 400 MB"):
        load_tensors(tmp_path / "many.pth")
