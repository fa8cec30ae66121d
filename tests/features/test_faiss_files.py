"""Index files: every kind in the wild is read, everything else is refused in its own words."""

from pathlib import Path

import numpy as np
import pytest

from rvc_colab.errors import IndexFileError
from rvc_colab.features.faiss_files import (
    index_file_name,
    index_shape,
    lists_for,
    parse_index_name,
    read_faiss,
    write_faiss,
)

faiss = pytest.importorskip("faiss")
HALF_PRECISION = 1e-3  # fp16 spacing of the residuals to the list centres, which reach about 2
GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = GOLDEN / "training" / "d_small_added_IVF7_Flat_nprobe_1_small_v1.index"


@pytest.fixture
def rows():
    return np.random.default_rng(3).standard_normal((120, 16), dtype=np.float32)


def saved(tmp_path, index, name="made.index"):
    faiss.write_index(index, str(tmp_path / name))
    return tmp_path / name


@pytest.mark.parametrize(
    ("rows", "lists"),
    [
        (10, 1),
        (38, 1),
        (77, 1),
        (100, 2),
        (400, 10),
        (3000, 76),
        (10000, 256),
        (200000, 5128),
        (389377, 9984),
    ],
)
def test_number_of_lists_follows_the_published_rule(rows, lists):
    assert lists_for(rows) == lists


def test_names_of_both_habits():
    assert index_file_name("ann", "v2", 3000) == "added_IVF76_Flat_nprobe_1_ann_v2.index"
    assert index_file_name("ann", "v2", 3000, habit="applio") == "ann.index"


@pytest.mark.parametrize(
    ("file", "name", "version", "kind"),
    [
        ("added_IVF76_Flat_nprobe_1_ann_v2.index", "ann", "v2", "added"),
        ("ann_added_IVF76_Flat_nprobe_1_ann_v2.index", "ann", "v2", "added"),
        ("trained_IVF7_Flat_nprobe_1_my_voice_v1.index", "my_voice", "v1", "trained"),
        ("added_IVF7_Flat_nprobe_1_old.index", "old", "", "added"),
        ("my voice.index", "my voice", "", "added"),
    ],
)
def test_name_is_parsed(file, name, version, kind):
    found = parse_index_name(file)
    assert (found.name, found.version, found.kind) == (name, version, kind)


def test_shape_is_read_from_the_header():
    assert index_shape(SMALL) == (300, 256)


def test_published_file_is_read():
    file = read_faiss(SMALL)
    assert file.kind == "IndexIVFFlat"
    assert file.vectors.shape == (300, 256)


@pytest.mark.parametrize("factory", ["Flat", "IVF2,Flat", "HNSW8,Flat"])
def test_lossless_kinds_give_the_vectors_back(tmp_path, rows, factory):
    index = faiss.index_factory(16, factory)
    index.train(rows)
    index.add(rows)
    np.testing.assert_array_equal(read_faiss(saved(tmp_path, index)).vectors, rows)


def test_half_precision_lists_are_read(tmp_path, rows):
    index = faiss.index_factory(16, "IVF2,SQfp16")
    index.train(rows)
    index.add(rows)
    np.testing.assert_allclose(
        read_faiss(saved(tmp_path, index)).vectors, rows, atol=HALF_PRECISION
    )


def test_ids_with_gaps_are_read_in_their_order(tmp_path, rows):
    index = faiss.index_factory(16, "IVF2,Flat")
    index.train(rows)
    index.add_with_ids(rows, np.arange(120)[::-1] * 10 + 5)
    file = read_faiss(saved(tmp_path, index))
    np.testing.assert_array_equal(file.vectors, rows[::-1])
    assert file.index is None  # its answers would not be row numbers


def test_id_map_is_read_in_the_order_of_its_ids(tmp_path, rows):
    index = faiss.IndexIDMap(faiss.IndexFlatL2(16))
    index.add_with_ids(rows, np.arange(120)[::-1].copy())
    np.testing.assert_array_equal(read_faiss(saved(tmp_path, index)).vectors, rows[::-1])


def test_rows_that_are_not_finite_are_left_out_with_a_warning(tmp_path, rows):
    rows[5, 2] = np.nan
    index = faiss.IndexFlatL2(16)
    index.add(rows)
    file = read_faiss(saved(tmp_path, index))
    assert len(file.vectors) == 119
    assert "1 of 120" in file.warnings[0]


def test_trained_by_product_is_refused(tmp_path, rows):
    index = faiss.index_factory(16, "IVF2,Flat")
    index.train(rows)
    with pytest.raises(IndexFileError, match="no vectors.*trained"):
        read_faiss(saved(tmp_path, index, "trained_IVF2_Flat_nprobe_1_ann_v1.index"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"\n<!DOCTYPE html><html>quota</html>" + b" " * 99, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (b"PK\x03\x04" + b"\0" * 99, "voice"),
        (b"RIFF" + b"\0" * 99, "not a faiss index"),
        (b"IwFl" + b"\xff" * 99, "damaged header"),
        (b"IxZZ" + b"\x10\0\0\0" + b"\1" + b"\0" * 99, "not a whole faiss index"),
    ],
)
def test_other_files_are_refused_by_their_kind(tmp_path, content, words):
    path = tmp_path / "x.index"
    path.write_bytes(content)
    with pytest.raises(IndexFileError, match=words):
        read_faiss(path)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.97, 0.9999])
def test_truncated_file_is_refused(tmp_path, kept):
    whole = SMALL.read_bytes()
    path = tmp_path / "cut.index"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(IndexFileError, match="cut short|not a whole"):
        read_faiss(path)


def test_missing_file_says_its_path(tmp_path):
    with pytest.raises(IndexFileError, match="There is no index .*gone.index"):
        read_faiss(tmp_path / "gone.index")


def test_folder_is_refused(tmp_path):
    with pytest.raises(IndexFileError, match="cannot be read"):
        read_faiss(tmp_path)


def test_failed_write_leaves_no_file(tmp_path, rows, monkeypatch):
    def full_disk(index, name):
        Path(name).write_bytes(b"half")
        raise RuntimeError("Error in fwrite at io.cpp: write error")

    monkeypatch.setattr(faiss, "write_index", full_disk)
    with pytest.raises(IndexFileError, match="could not be written"):
        write_faiss(tmp_path / "ann.index", faiss.IndexFlatL2(16))
    assert list(tmp_path.iterdir()) == []
