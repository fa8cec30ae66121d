"""Refuse torch files that would grow in memory far beyond their size on disk.

A torch file is a zip whose entries may be packed a thousandfold, its pickle may make millions of
objects of few bytes each, and a tensor may claim any shape over a single stored number. Published
files do none of that: their tensors lie in them one by one, as large as they are.
"""

from __future__ import annotations

import contextlib
import itertools
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from rvc_colab.errors import RVCError

MOST_GROWTH = 8  # repacked 16-bit weights stored as 32 bit shrink to less than half
SLACK_BYTES = 16 << 20  # small files may grow more
MOST_PICKLE_BYTES = 8 << 20  # a pickle names tensors; of a voice it has 100 kB
MOST_STEPS = 1_000_000  # of a pickle; a voice takes some ten thousand
_LEGACY_PICKLES = 4  # magic number, protocol, system, content; storages follow


def check_packed(target: Path, error: type[RVCError]) -> bool:
    """Check what a torch file unpacks to; tell whether its tensors can be mapped from it.

    Raises `error`. What is damaged passes: the reader says more about it.
    """
    limit, largest = MOST_GROWTH * target.stat().st_size + SLACK_BYTES, MOST_PICKLE_BYTES
    try:
        with zipfile.ZipFile(target) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        _check_steps(target, error)
        return False
    total = sum(entry.file_size for entry in entries)
    pickles = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if total > limit or pickles > largest:
        raise error(
            f"{target.name} unpacks to {total / 1e6:.0f} MB from "
            f"{target.stat().st_size / 1e6:.1f} MB, {pickles / 1e6:.1f} MB of it no tensors.",
            "Do not trust this file; get the voice from another place.",
        )
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _check_steps(target: Path, error: type[RVCError]) -> None:
    """Count the steps of the pickles at the beginning of a file of torch's old kind."""
    with target.open("rb") as handle:
        steps = sum(1 for _ in itertools.islice(_steps(handle), MOST_STEPS + 1))
    if steps > MOST_STEPS:
        raise error(
            f"{target.name} holds over {MOST_STEPS:,} objects besides tensors.",
            "Do not trust this file; get the voice from another place.",
        )


def _steps(handle: IO[bytes]) -> Iterator[object]:
    """Step through the pickles at the beginning of a file, until one is damaged."""
    with contextlib.suppress(ValueError, EOFError, MemoryError, OverflowError):
        for _ in range(_LEGACY_PICKLES):
            yield from pickletools.genops(handle)


def check_tensors(content: Any, target: Path, error: type[RVCError]) -> None:
    """Check that the tensors together are no larger than the file can hold. Raises `error`."""
    limit = MOST_GROWTH * target.stat().st_size + SLACK_BYTES
    total, waiting, seen = 0, [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
    if total > limit:
        raise error(
            f"{target.name} claims tensors of {total / 1e6:.0f} MB in "
            f"{target.stat().st_size / 1e6:.1f} MB.",
            "Do not trust this file; get the voice from another place.",
        )
