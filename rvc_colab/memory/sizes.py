"""How many bytes a model takes: on the disk, by a look at the file's head, and in memory."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

_HEAD_BYTES = 1 << 16
_MAX_HEADER = 100 << 20  # of a safetensors file, by its format
# Names of torch's storages as they stand in a pickle; the most frequent one decides.
_STORAGES = {b"FloatStorage": 4, b"HalfStorage": 2, b"BFloat16Storage": 2, b"DoubleStorage": 8}
_SAFETENSORS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_LEAVES = (str, bytes, int, float, bool, type(None), Path)
_FOREIGN = (type, ModuleType, FunctionType)
_WITHOUT_TENSORS = {"logging", "threading", "_thread"}


@dataclass(frozen=True)
class Stored:
    """Weights in a file: their bytes, and the bytes of one number."""

    bytes: int
    item_bytes: int = 4


def stored_bytes(path: Path) -> Stored:
    """Look how much a weight file holds, without reading its tensors.

    Knows torch's zip files, safetensors, and takes any other file whole as 4-byte numbers; a
    missing file counts 0, a folder the files directly in it.
    """
    if path.is_dir():
        parts = [stored_bytes(child) for child in sorted(path.iterdir()) if child.is_file()]
        parts = [part for part in parts if part.bytes] or [Stored(0)]
        return Stored(
            sum(part.bytes for part in parts), max(parts, key=lambda p: p.bytes).item_bytes
        )
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        if zipfile.is_zipfile(path):
            return _torch_zip(path)
        size = path.stat().st_size
        with path.open("rb") as handle:
            return Stored(size, _item_bytes(handle.read(_HEAD_BYTES)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, struct.error):
        return Stored(path.stat().st_size if path.is_file() else 0)


def _torch_zip(path: Path) -> Stored:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        data = sum(m.file_size for m in members if "/data/" in m.filename)
        heads = [m for m in members if m.filename.endswith("data.pkl")]
        if not heads:
            return Stored(path.stat().st_size)
        with archive.open(heads[0]) as handle:
            return Stored(data, _item_bytes(handle.read(_MAX_HEADER)))


def _item_bytes(pickled: bytes) -> int:
    # A pickle names a class once and then refers to it, so the first name is the common one.
    found = {pickled.find(name): size for name, size in _STORAGES.items() if name in pickled}
    return found[min(found)] if found else 4


def _safetensors(path: Path) -> Stored:
    with path.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > _MAX_HEADER:
            raise ValueError("no safetensors header")
        header = json.loads(handle.read(length))
    by_kind: dict[int, int] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            first, last = tensor["data_offsets"]
            size = _SAFETENSORS.get(tensor["dtype"], 4)
            by_kind[size] = by_kind.get(size, 0) + last - first
    if not by_kind:
        return Stored(0)
    return Stored(sum(by_kind.values()), max(by_kind, key=lambda size: by_kind[size]))


def held_bytes(thing: Any) -> int:
    """Count the bytes of all tensors and arrays reachable from `thing`, shared memory once."""
    blocks: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _LEAVES) or id(item) in seen:
            continue
        seen.add(id(item))
        block = _block(item)
        if block is None:
            waiting.extend(_children(item))
        else:
            blocks[block[0]] = max(blocks.get(block[0], 0), block[1])
    return sum(blocks.values())


def _block(item: Any) -> tuple[int, int] | None:
    """Return (address, bytes) of the memory behind a tensor or array."""
    if hasattr(item, "untyped_storage"):
        storage = item.untyped_storage()
        return storage.data_ptr() or id(item), storage.nbytes()
    if type(item).__module__ == "numpy" and hasattr(item, "nbytes"):
        while getattr(item, "base", None) is not None and hasattr(item.base, "nbytes"):
            item = item.base
        interface = getattr(item, "__array_interface__", None)  # shared with torch.from_numpy
        return interface["data"][0] if interface else id(item), int(item.nbytes)
    return None


def _children(item: Any) -> Iterator[Any]:
    if isinstance(item, Mapping):
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset):
        yield from item
    elif not isinstance(item, _FOREIGN) and type(item).__module__ not in _WITHOUT_TENSORS:
        yield from getattr(item, "__dict__", {}).values()
        owner = getattr(item, "__self__", None)  # of a bound method
        if owner is not None:
            yield owner


def used_bytes(use: Callable[[], Any]) -> int:
    """Run `use` once on the CPU and return the most bytes of tensors it held besides the present.

    Counts torch's allocations, in this thread and those of its autograd; slow: for measuring.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = use()
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    most = now = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    del result
    return most
