"""The faiss files of the RVC world: names, a guarded reader, the `IVF{n},Flat` writer.

A retrieval index holds the content frames of the training recordings, 256 wide (v1) or 768 wide
(v2). Two habits of naming exist: `added_IVF76_Flat_nprobe_1_NAME_v1.index`, often with `NAME_`
in front, and plain `NAME.index`. Files called `trained_…` are a by-product without vectors.
"""

from __future__ import annotations

import logging
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rvc_colab.errors import IndexFileError
from rvc_colab.features.file_kinds import HEAD_BYTES, accident, other_content
from rvc_colab.workspace import write_atomically

_log = logging.getLogger(__name__)

WIDTHS = {256: "v1", 768: "v2"}
ADD_ROWS = 8192  # rows handed to faiss at once
_MAX_WIDTH = 1 << 16
_METRIC_L2 = 1
_NAME = re.compile(
    r"^(?:(?P<front>.+)_)?(?P<kind>added|trained)_IVF(?P<lists>\d+)_Flat_nprobe_(?P<nprobe>\d+)"
    r"_(?P<name>.+?)(?:_(?P<version>v[12]))?$"
)
# What the first four bytes of a faiss file say, for the kinds whose size follows from the header.
_FLAT_KINDS = {b"IxF2", b"IxFI", b"IxFl", b"IwFl"}
_NOT_AN_INDEX = "Take the file that the voice came with (added_….index or NAME.index), whole."


@dataclass(frozen=True)
class IndexName:
    """What the name of an index file tells; `version` is empty where it does not say."""

    name: str
    version: str = ""
    kind: str = "added"
    lists: int = 0


def lists_for(rows: int) -> int:
    """Return the number of inverted lists for `rows` vectors: max(1, min(⌊16√N⌋, N // 39)).

    Published rule; faiss wants at least 39 training rows per list.
    """
    return max(1, min(int(16 * rows**0.5), rows // 39))


def index_file_name(voice: str, version: str, rows: int, habit: str = "webui") -> str:
    """Name the index of a voice by the habit of RVC-WebUI (`webui`) or of Applio (`applio`)."""
    if habit == "applio":
        return f"{voice}.index"
    if habit == "webui":
        return f"added_IVF{lists_for(rows)}_Flat_nprobe_1_{voice}_{version}.index"
    raise IndexFileError(f"The naming habit {habit!r} is unknown.", "Choose webui or applio.")


def parse_index_name(path: str | os.PathLike[str]) -> IndexName:
    """Read voice, version and kind from the name of an index file, by either habit."""
    stem = Path(path).name.removesuffix(".index")
    if found := _NAME.match(stem):
        return IndexName(found["name"], found["version"] or "", found["kind"], int(found["lists"]))
    return IndexName(stem, kind="trained" if stem.startswith("trained_") else "added")


@dataclass
class FaissFile:
    """What a faiss file held: vectors float32 [N, C] in the order of their ids, warnings in words.

    `index` is the faiss object where searching it answers with row numbers of `vectors` and
    squared L2 distances, else None.
    """

    index: Any
    vectors: np.ndarray
    kind: str
    warnings: list[str] = field(default_factory=list)


def read_faiss(path: str | os.PathLike[str]) -> FaissFile:
    """Read an index and reconstruct its vectors in the order of their ids.

    Reads Flat, IVF (Flat, scalar-quantised, product-quantised; with or without a direct map),
    ID maps and pre-transformed indexes. Raises IndexFileError with what the file is instead.
    """
    import faiss

    target = Path(path)
    _check_header(target)
    try:
        index = _downcast(faiss.read_index(str(target)))
    except (RuntimeError, MemoryError) as error:
        raise IndexFileError(
            f"{target.name} is not a whole faiss index: {_reason(error)}.", _NOT_AN_INDEX
        ) from error
    kind = type(index).__name__
    if index.ntotal == 0:
        raise IndexFileError(
            f"{target.name} holds no vectors ({kind}, {index.d} wide)"
            + (": it is the empty “trained” by-product." if "trained" in target.name else "."),
            "Use the file whose name begins with added_, or NAME.index.",
        )
    try:
        vectors = _reconstruct(index)
    except (RuntimeError, MemoryError, AttributeError) as error:
        raise IndexFileError(
            f"{target.name} is a {kind}, whose vectors cannot be read back: {_reason(error)}.",
            "Build the index again from the training run: rvc-colab index NAME.",
        ) from error
    plain = kind in {"IndexFlatL2", "IndexIVFFlat"} and _numbered_by_row(index)
    result = FaissFile(index if plain else None, vectors, kind)
    if index.metric_type != _METRIC_L2:
        result.index = None
        result.warnings.append(
            f"{target.name} was built for another metric; it is searched by L2 distance."
        )
    _drop_not_finite(result, target.name)
    for warning in result.warnings:
        _log.warning(warning)
    return result


def build_ivf(vectors: np.ndarray, seed: int) -> Any:
    """Build the published `IVF{n},Flat` L2 index of float32 [N, C]; one seed, one result."""
    import faiss

    rows, width = vectors.shape
    index = _downcast(faiss.index_factory(width, f"IVF{lists_for(rows)},Flat"))
    index.cp.seed = seed
    index.nprobe = 1
    index.train(vectors)
    for first in range(0, rows, ADD_ROWS):
        index.add(vectors[first : first + ADD_ROWS])
    return index


def write_faiss(path: str | os.PathLike[str], index: Any) -> Path:
    """Write a faiss index whole or not at all (temporary name, then rename)."""
    import faiss

    target = Path(path)
    try:
        with write_atomically(target) as temporary:
            faiss.write_index(index, str(temporary))
    except (OSError, RuntimeError) as error:
        raise IndexFileError(
            f"The index {target} could not be written: {_reason(error)}.",
            "Check the folder and the free space.",
        ) from error
    return target


def _downcast(index: Any) -> Any:
    """Return the index under its true class; the view borrows from `index` and keeps hold of it."""
    import faiss

    view: Any = faiss.downcast_index(index)
    view.referenced_objects = [index]
    return view


def index_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read rows and width of an index from its header, without its vectors.

    Raises IndexFileError with what the file is instead.
    """
    return _check_header(Path(path))


def _check_header(path: Path) -> tuple[int, int]:
    """Refuse, in words, what cannot be an index, before faiss believes its numbers."""
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise IndexFileError(
            f"There is no index {path}.",
            "Give its path with --index, or convert with --index none.",
        ) from error
    except OSError as error:
        raise IndexFileError(
            f"{path} cannot be read: {error.strerror or error}.", _NOT_AN_INDEX
        ) from error
    if other := accident(head) or other_content(head):
        raise IndexFileError(f"{path.name} is {other}, not a retrieval index.", _NOT_AN_INDEX)
    if not re.match(rb"I[xwvH2][A-Za-z0-9]{2}", head[:4]) or size < 37:
        raise IndexFileError(f"{path.name} ({size} bytes) is not a faiss index.", _NOT_AN_INDEX)
    width, rows = struct.unpack_from("<iq", head, 4)
    if not 0 < width <= _MAX_WIDTH or rows < 0:
        raise IndexFileError(
            f"{path.name} has a damaged header ({rows} rows of width {width}).", _NOT_AN_INDEX
        )
    if head[:4] in _FLAT_KINDS and rows * width * 4 > size:
        raise IndexFileError(
            f"{path.name} is cut short: its header promises {rows} rows of width {width} "
            f"({rows * width * 4} bytes), the file has {size} bytes.",
            "Download or copy it again.",
        )
    return rows, width


def _reconstruct(index: Any) -> np.ndarray:
    """Return the stored vectors float32 [N, C] in the order of their ids."""
    import faiss

    kind = type(index).__name__
    if kind in {"IndexIDMap", "IndexIDMap2"}:
        ids = faiss.vector_to_array(index.id_map)
        return _reconstruct(_downcast(index.index))[np.argsort(ids, kind="stable")]
    if not isinstance(index, faiss.IndexIVF):
        return np.ascontiguousarray(index.reconstruct_n(0, index.ntotal), dtype=np.float32)
    if _numbered_by_row(index):
        return np.ascontiguousarray(index.reconstruct_n(0, index.ntotal), dtype=np.float32)
    rows = _rows_by_list(index)  # ids with gaps: faiss would leave holes of raw memory
    return rows[np.argsort(_stored_ids(index), kind="stable")]


def _numbered_by_row(index: Any) -> bool:
    """Tell whether the ids of the index are 0 .. N-1."""
    import faiss

    if not isinstance(index, faiss.IndexIVF):
        return True
    return np.array_equal(np.sort(_stored_ids(index)), np.arange(index.ntotal))


def _stored_ids(index: Any) -> np.ndarray:
    import faiss

    lists = index.invlists
    found = [
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
        for number in range(index.nlist)
        if lists.list_size(number)
    ]
    return np.concatenate(found).astype(np.int64)


def _rows_by_list(index: Any) -> np.ndarray:
    """Decode every stored row, in the order of the inverted lists."""
    import faiss

    rows = np.empty((index.ntotal, index.d), dtype=np.float32)
    row = 0
    for number in range(index.nlist):
        for offset in range(index.invlists.list_size(number)):
            index.reconstruct_from_offset(number, offset, faiss.swig_ptr(rows[row]))
            row += 1
    return rows


def _drop_not_finite(result: FaissFile, name: str) -> None:
    whole = np.isfinite(result.vectors).all(axis=1)
    if whole.all():
        return
    lost = int((~whole).sum())
    if lost == len(whole):
        raise IndexFileError(
            f"None of the {lost} vectors of {name} is a finite number.", _NOT_AN_INDEX
        )
    result.vectors = np.ascontiguousarray(result.vectors[whole])
    result.index = None
    result.warnings.append(
        f"{lost} of {len(whole)} vectors of {name} are not finite and were left out."
    )


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    last = text[-1] if text else type(error).__name__
    return last.split("Error: ")[-1].rstrip(".")[:160]
