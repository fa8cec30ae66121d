"""What preparing recordings leaves on the local disk, named by its content.

A file's name is a hash of all that it depends on: the bytes of the recording and the settings that
shaped it. A changed setting or recording therefore asks for other names, nothing stale is ever
read, and what is there already is not computed again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rvc_colab.errors import DatasetError
from rvc_colab.workspace import Workspace, write_atomically

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class WorkingSet:
    """The folder of prepared recordings; everything in it can be made again."""

    root: Path

    @classmethod
    def of(cls, workspace: Workspace) -> WorkingSet:
        """Return the working set of a workspace: local, never on a mounted drive."""
        return cls(workspace.cache / "training")

    def path(self, kind: str, key: str) -> Path:
        """Return where the arrays of one recording lie (`kind`: slices, content, pitch…)."""
        return self.root / kind / key[:2] / f"{key}.npz"

    def holds(self, kind: str, key: str) -> bool:
        """Tell whether they are there and whole."""
        path = self.path(kind, key)
        if not path.is_file():
            return False
        try:
            with np.load(path, allow_pickle=False) as file:
                return bool(file.files)
        except (OSError, ValueError, EOFError, KeyError):
            return False
        except Exception:  # zipfile raises its own kinds for a damaged archive
            return False

    def read(self, kind: str, key: str) -> dict[str, np.ndarray]:
        """Read the arrays of one recording."""
        with np.load(self.path(kind, key), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def write(self, kind: str, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays of one recording, whole or not at all.

        Raises DatasetError when the disk refuses: that is no fault of the recording.
        """
        try:
            with write_atomically(self.path(kind, key)) as temp, temp.open("wb") as handle:
                np.savez(handle, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise DatasetError(
                f"What was prepared cannot be kept in {self.root}: {error.strerror or error}.",
                "Make room and run the same command again, or name another folder: RVC_CACHE.",
            ) from error


def key_of(**facts: Any) -> str:
    """Name the facts a file depends on: 32 hexadecimal digits."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def joined(
    parts: list[np.ndarray], width: tuple[int, ...] = (), dtype: Any = np.float32
) -> np.ndarray:
    """Join arrays along time; none at all gives an empty one of that width."""
    return np.concatenate(parts) if parts else np.zeros((0, *width), dtype=dtype)


def bounds_of(parts: list[np.ndarray]) -> np.ndarray:
    """Return where each part of the joined array begins, and the end of the last: int64 [n + 1]."""
    return np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))


def split(array: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """Take a joined array apart again (views)."""
    return [array[first:last] for first, last in zip(bounds[:-1], bounds[1:])]
