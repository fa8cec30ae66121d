"""Take the tensors out of a foreign torch file without importing or executing anything it names.

fairseq's checkpoints name classes of fairseq, argparse and omegaconf beside their tensors. A
pickle can only call what its reader hands out: this reader hands out inert stand-ins for every
name, notes of where a tensor's bytes lie for torch's own rebuilding functions, and nothing else.
The bytes are cut out afterwards, with every size checked against the file. Both layouts of torch
are read: the zip (1.6 and later) and the stream before it.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from rvc_colab.errors import AssetError
from rvc_colab.features.file_kinds import HEAD_BYTES, accident

_STREAM_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization's, of the layout before the zip
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DEPTH = 3  # how deep inside dicts the tensors may lie, as in {"model": {...}}


class _Inert:
    """Stands in for any class or function a pickle names: takes everything, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...

    def append(self, _: Any) -> None:
        """Take an item of a pickled list subclass, and forget it."""

    def extend(self, _: Any) -> None:
        """Take the items of a pickled list subclass, and forget them."""


@dataclass(frozen=True)
class _Storage:
    """Where bytes lie: key in the file, element type, first element and number of elements."""

    key: str
    dtype: torch.dtype
    first: int
    elements: int


@dataclass(frozen=True)
class _TensorNote:
    """A tensor as the pickle describes it; its bytes are read later."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _NoteTensor(_Inert):
    """Stands in for torch's `_rebuild_tensor`: called, it returns a note. A class, because a
    pickle may alter the attributes of a function that it is handed."""

    def __new__(cls, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        lists = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
        numbers = (offset, *size, *stride) if lists else (None,)
        plain = all(type(number) is int and number >= 0 for number in numbers)
        if not isinstance(storage, _Storage) or not plain:
            raise pickle.UnpicklingError("a tensor is not described by numbers")
        return _TensorNote(storage, offset, size, stride)


class _NoteParameter(_Inert):
    """Stands in for `Parameter`: the tensor itself."""

    def __new__(cls, tensor: Any = None, *_: Any) -> Any:
        return tensor


class _TensorUnpickler(pickle.Unpickler):
    """Hands out dicts, notes and stand-ins, whatever the pickle asks for."""

    _KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _NoteTensor,
        ("torch._utils", "_rebuild_tensor"): _NoteTensor,
        ("torch._utils", "_rebuild_parameter"): _NoteParameter,
        ("torch.nn.parameter", "Parameter"): _NoteParameter,
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.widths: dict[str, int] = {}  # bytes per element of every storage named

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return a stand-in; nothing is imported."""
        if module_name in {"torch", "torch.storage"} and global_name in _DTYPES:
            return type("Typed", (_Inert,), {"dtype": _DTYPES[global_name]})
        return self._KNOWN.get((module_name, global_name), _Inert)

    def persistent_load(self, pid: Any) -> Any:
        """Note where a storage lies."""
        if not isinstance(pid, tuple) or not pid or pid[0] != "storage" or len(pid) < 5:
            return _Inert()
        dtype, elements = getattr(pid[1], "dtype", None), pid[4]
        if dtype is None or type(elements) is not int or elements < 0:
            raise pickle.UnpicklingError("a storage is of an unknown type")
        self.widths[str(pid[2])] = dtype.itemsize
        view = pid[5] if len(pid) > 5 and isinstance(pid[5], tuple) else (None, 0, elements)
        return _Storage(str(pid[2]), dtype, int(view[1]), elements)


def read_foreign_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read the state dict of any torch file on the CPU: of nested dicts, the one with most tensors.

    Raises AssetError with what the file is instead. Nothing that the file names is imported.
    """
    target = Path(path)
    try:
        with target.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
            handle.seek(0)
            if kind := accident(head):
                raise AssetError(f"{target.name} is {kind}, not weights.", "Download it again.")
            notes, read = (
                _open_zip(handle) if head.startswith(b"PK\x03\x04") else _open_stream(handle)
            )
            return {name: _cut_out(note, read(note.storage)) for name, note in notes.items()}
    except OSError as error:
        raise AssetError(
            f"{target} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    except AssetError:
        raise
    except Exception as error:  # a hostile or damaged pickle may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AssetError(
            f"{target.name} is no whole torch file: {reason[:160]}.", "Download or copy it again."
        ) from error


def _open_zip(handle: BinaryIO) -> tuple[dict[str, _TensorNote], Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(handle)
    size = handle.seek(0, os.SEEK_END)
    entries = archive.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > size:
        raise pickle.UnpicklingError("its zip is compressed or overlaps, which torch never writes")
    table = next((e.filename for e in entries if e.filename.endswith("data.pkl")), None)
    if table is None:
        raise pickle.UnpicklingError("it is a zip without the tensors of torch (no data.pkl)")
    folder = table.removesuffix("data.pkl")

    def read(storage: _Storage) -> bytes:
        return archive.read(f"{folder}data/{storage.key}")

    return _state_dict(_TensorUnpickler(io.BytesIO(archive.read(table))).load()), read


def _open_stream(handle: BinaryIO) -> tuple[dict[str, _TensorNote], Callable[[_Storage], bytes]]:
    if _TensorUnpickler(handle).load() != _STREAM_MAGIC:
        raise pickle.UnpicklingError("it does not begin like a torch file")
    _TensorUnpickler(handle).load()  # protocol version
    _TensorUnpickler(handle).load()  # facts of the writing machine
    objects = _TensorUnpickler(handle)
    notes = _state_dict(objects.load())
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, _TensorUnpickler(handle).load()):  # in the order of the bytes that follow
        (elements,) = struct.unpack("<q", handle.read(8))
        length = elements * objects.widths[key]
        if length < 0:
            raise pickle.UnpicklingError(f"storage {key} has {elements} elements")
        places[key] = (handle.tell(), length)
        handle.seek(length, os.SEEK_CUR)

    def read(storage: _Storage) -> bytes:
        start, length = places[storage.key]
        handle.seek(start)
        return handle.read(length)

    return notes, read


def _state_dict(root: Any) -> dict[str, _TensorNote]:
    """Return the tensors of the dict that holds most of them."""
    best: dict[str, _TensorNote] = {}
    for found in _dicts(root, _DEPTH):
        notes = {
            k: v for k, v in dict.items(found) if type(k) is str and isinstance(v, _TensorNote)
        }
        if len(notes) > len(best):
            best = notes
    if not best:
        raise pickle.UnpicklingError("it holds no tensors")
    return best


def _dicts(node: Any, depth: int) -> Iterator[dict[Any, Any]]:
    if not isinstance(node, dict) or not depth:
        return
    yield node
    for child in dict.values(node):
        yield from _dicts(child, depth - 1)


def _cut_out(note: _TensorNote, content: bytes) -> torch.Tensor:
    """Make the tensor from the bytes of its storage; sizes that lie are refused."""
    storage, elements = note.storage, math.prod(note.size)
    available = len(content) // storage.dtype.itemsize
    if available < storage.elements + storage.first or elements > available:
        raise pickle.UnpicklingError(
            f"a tensor needs {max(elements, storage.elements)} elements, {available} are stored"
        )
    if not elements:
        return torch.empty(note.size, dtype=storage.dtype)
    stored = torch.frombuffer(bytearray(content), dtype=storage.dtype)
    return torch.as_strided(
        stored, note.size, note.stride, storage.first + note.offset
    ).contiguous()
