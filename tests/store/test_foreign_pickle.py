"""Foreign torch files: their tensors come out, nothing they name is imported or executed."""

import argparse
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from enum import Enum

import pytest
import torch

from rvc_colab.errors import AssetError
from rvc_colab.store.foreign_pickle import read_foreign_tensors

LAYOUTS = [True, False]  # torch's zip, and the stream before it


class Bomb:
    """A pickle that runs code where the reader lets it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def tensors():
    return {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.float16)}


@pytest.fixture
def fairseq(monkeypatch):
    """A module named as fairseq's, importable only while the file is written."""
    module = types.ModuleType("fairseq.data.dictionary")

    class Dictionary(dict):
        pass

    class Choice(Enum):
        SUM = "sum"

    for kind in (Dictionary, Choice):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "fairseq", types.ModuleType("fairseq"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def save(path, content, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name])
        assert found[name].dtype == expected[name].dtype


@pytest.mark.parametrize("zipped", LAYOUTS)
def test_plain_state_dict(tmp_path, tensors, zipped):
    assert_equal(read_foreign_tensors(save(tmp_path / "a.pt", tensors, zipped)), tensors)


@pytest.mark.parametrize("zipped", LAYOUTS)
def test_fairseq_file_without_fairseq(tmp_path, tensors, fairseq, zipped, monkeypatch):
    words = fairseq.Dictionary(a=1)
    words.attribute = [1, 2]
    content = {
        "args": argparse.Namespace(layers=12),
        "cfg": {"task": words, "reduction": fairseq.Choice.SUM},
        "model": OrderedDict(tensors),
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(5, dtype=torch.float64)}}},
    }
    path = save(tmp_path / "hubert_base.pt", content, zipped)
    for name in ("fairseq", "fairseq.data.dictionary"):
        monkeypatch.delitem(sys.modules, name)
    assert_equal(read_foreign_tensors(path), tensors)
    assert not [name for name in sys.modules if name.startswith("fairseq")]


@pytest.mark.parametrize("zipped", LAYOUTS)
def test_code_in_a_file_is_not_executed(tmp_path, tensors, zipped):
    proof = tmp_path / "executed"
    path = save(tmp_path / "evil.pt", {"x": Bomb(proof), "model": tensors}, zipped)
    assert_equal(read_foreign_tensors(path), tensors)
    assert not proof.exists()


@pytest.mark.parametrize(
    "names", [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load")]
)
def test_every_name_is_a_stand_in(tmp_path, names):
    # GLOBAL name, argument tuple, REDUCE, then STOP: the shortest pickle that calls something.
    code = f"c{names[0]}\n{names[1]}\n(S'touch {tmp_path}/executed'\ntR.".encode()
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
    with pytest.raises(AssetError, match="holds no tensors"):
        read_foreign_tensors(path)
    assert not (tmp_path / "executed").exists()


def test_plain_pickle_is_refused_without_running_it(tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(AssetError, match="does not begin like a torch file"):
        read_foreign_tensors(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("zipped", LAYOUTS)
def test_parameters_views_and_transposed_tensors(tmp_path, zipped):
    base = torch.arange(20.0)
    content = {
        "parameter": torch.nn.Parameter(base.clone()),
        "view": base[4:10],
        "turned": base.reshape(4, 5).T,
        "shared": base,
        "empty": torch.empty(0, 3),
    }
    found = read_foreign_tensors(save(tmp_path / "a.pt", content, zipped))
    assert_equal(found, {name: tensor.detach() for name, tensor in content.items()})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64, torch.bool, torch.uint8])
def test_element_types(tmp_path, dtype):
    tensors = {"x": torch.tensor([0, 1, 1]).to(dtype)}
    assert_equal(read_foreign_tensors(save(tmp_path / "a.pt", tensors, True)), tensors)


@pytest.mark.parametrize("zipped", LAYOUTS)
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.98])
def test_truncated_file_is_refused(tmp_path, zipped, kept):
    path = save(tmp_path / "a.pt", {"x": torch.randn(5000)}, zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(AssetError, match="no whole torch file"):
        read_foreign_tensors(path)


def test_sizes_that_lie_are_refused(tmp_path):
    path = save(tmp_path / "a.pt", {"x": torch.zeros(7)}, True)
    lying = tmp_path / "lying.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(lying, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, content[:8] if "/data/" in entry.filename else content)
    with pytest.raises(AssetError, match="needs 7 elements, 2 are stored"):
        read_foreign_tensors(lying)


def test_compressed_zip_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(AssetError, match="compressed"):
        read_foreign_tensors(path)


def test_zip_without_tensors_is_refused(tmp_path):
    path = tmp_path / "voice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(AssetError, match="zip without the tensors"):
        read_foreign_tensors(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"RIFF....WAVE", "no whole torch file"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(AssetError, match=words):
        read_foreign_tensors(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(AssetError, match=r"gone\.pt cannot be read"):
        read_foreign_tensors(tmp_path / "gone.pt")


def test_negative_length_in_a_stream_is_refused(tmp_path):
    path = save(tmp_path / "a.pt", {"x": torch.zeros(3)}, False)
    content = path.read_bytes()
    cut = len(content) - 12 - 8
    assert struct.unpack("<q", content[cut : cut + 8]) == (3,)
    path.write_bytes(content[:cut] + struct.pack("<q", -1) + content[cut + 8 :])
    with pytest.raises(AssetError, match="has -1 elements"):
        read_foreign_tensors(path)


def test_reader_is_unchanged_by_a_pickle_that_alters_it(tmp_path, tensors):
    # BUILD on what the reader hands out, instead of calling it.
    code = b"ctorch._utils\n_rebuild_tensor_v2\n(N(dS'__defaults__'\n(I1\ntstb."
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
    with pytest.raises(AssetError):
        read_foreign_tensors(path)
    good = save(tmp_path / "good.pt", tensors, True)
    assert_equal(read_foreign_tensors(good), tensors)


def test_torch_reads_the_same(tmp_path, tensors):
    path = save(tmp_path / "a.pt", tensors, True)
    assert_equal(
        read_foreign_tensors(path), torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    )
