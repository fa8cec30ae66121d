"""Snapshots: everything a run needs to go on exactly, in one directory written whole.

    snapshots/step-00001200/
        generator.safetensors  discriminator.safetensors      weights, float32
        generator_optimizer.safetensors  …                    moments and step counts, by parameter
        random.safetensors                                    states of the random generators
        state.json                                            step, epoch, position, scores
        manifest.json                                         sizes and sha256 of all these, last

It is written under another name, every file is forced to the disk, then it is renamed. A directory
that is not whole by its manifest is never read: the one before it is, and the run says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from rvc_colab.errors import SnapshotError
from rvc_colab.workspace import sync_file, sync_folder

_log = logging.getLogger(__name__)

MANIFEST, STATE = "manifest.json", "state.json"
_PREFIX, _UNFINISHED = "step-", ".unfinished-"
_BLOCK_BYTES = 1 << 20


@dataclass
class Snapshot:
    """The contents: groups of named tensors, and plain values for JSON."""

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Return the number of steps done."""
        return int(self.state["step"])


@dataclass
class Snapshots:
    """The snapshots of one run, `keep` newest of them (and the best one) kept."""

    folder: Path
    keep: int = 2
    warnings: list[str] = field(default_factory=list)

    def write(self, snapshot: Snapshot, best: int | None = None) -> Path:
        """Write a snapshot whole or not at all, then let old ones go; `best` is a step to keep.

        Raises SnapshotError when the disk refuses; what was there before stays.
        """
        from safetensors import SafetensorError

        target = self.folder / f"{_PREFIX}{snapshot.step:08d}"
        unfinished = self.folder / f"{_UNFINISHED}{target.name}-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear_unfinished()
            unfinished.mkdir()
            _fill(unfinished, snapshot)
            if target.exists():  # the same step again, for instance after a fall-back
                self._remove(target)
            os.replace(unfinished, target)
            sync_folder(self.folder)
        except (OSError, SafetensorError) as error:  # safetensors says a full disk in its own way
            shutil.rmtree(unfinished, ignore_errors=True)
            why = getattr(error, "strerror", None) or str(error)
            raise SnapshotError(
                f"Snapshot {snapshot.step} could not be written: {why}.",
                f"Make room on the disk of {self.folder}, then run the same command again.",
            ) from error
        self._let_go(snapshot.step, keep_also=best)
        return target

    def steps(self) -> list[int]:
        """List the steps of all snapshots that are there, whole or not, rising."""
        if not self.folder.is_dir():
            return []
        names = [path.name for path in self.folder.iterdir() if path.name.startswith(_PREFIX)]
        return sorted(int(name[len(_PREFIX) :]) for name in names if name[len(_PREFIX) :].isdigit())

    def path(self, step: int) -> Path:
        """Return the directory of a step's snapshot."""
        return self.folder / f"{_PREFIX}{step:08d}"

    def read_newest(self) -> Snapshot | None:
        """Read the newest whole snapshot; None when there never was one.

        Falls back to older ones with a warning. Raises SnapshotError when some are there and none
        is whole: a run is never started over unasked.
        """
        steps, damaged = self.steps(), 0
        for step in reversed(steps):
            try:
                snapshot = read_snapshot(self.path(step))
            except SnapshotError as error:
                damaged += 1
                self.warnings.append(error.message)
                _log.warning("%s", error.message)
                continue
            if damaged:
                self.warnings.append(f"Going on from the older snapshot of step {step}.")
                _log.warning("%s", self.warnings[-1])
            return snapshot
        if steps:
            raise SnapshotError(
                f"None of the {len(steps)} snapshots in {self.folder} is whole.",
                "Bring back a copy of one, or start over with --restart.",
            )
        return None

    def make_room(self, best: int | None = None) -> list[int]:
        """Remove all but the newest whole snapshot and the best one; returns the steps removed."""
        steps = self.steps()
        newest = next((s for s in reversed(steps) if self._whole(s)), None)
        gone = [] if newest is None else [s for s in steps if s not in (newest, best)]
        for step in gone:
            self._remove(self.path(step))
        return gone

    def _whole(self, step: int) -> bool:
        try:
            check(self.path(step))
        except SnapshotError:
            return False
        return True

    def _let_go(self, newest: int, keep_also: int | None) -> None:
        """Remove all but the `keep` newest; what lies after `newest` was damaged or given up."""
        steps = self.steps()
        past = [step for step in steps if step <= newest]
        for step in [*past[: -self.keep], *steps[len(past) :]]:
            if step != keep_also:
                self._remove(self.path(step))

    def _remove(self, path: Path) -> None:
        """Remove a snapshot, so that at no moment half of it lies under its name."""
        aside = self.folder / f"{_UNFINISHED}old-{path.name}-{os.getpid()}"
        os.replace(path, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _clear_unfinished(self) -> None:
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)


def _fill(folder: Path, snapshot: Snapshot) -> None:
    from safetensors.torch import save_file

    for name, tensors in snapshot.tensors.items():
        save_file(
            {key: tensor.contiguous() for key, tensor in tensors.items()},
            folder / f"{name}.safetensors",
        )
    (folder / STATE).write_text(json.dumps(snapshot.state, indent=1), encoding="utf-8")
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.iterdir())
    }
    for name in files:
        sync_file(folder / name)
    manifest = {"step": snapshot.step, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    sync_file(folder / MANIFEST)
    sync_folder(folder)


def read_snapshot(folder: Path) -> Snapshot:
    """Read one snapshot after checking every byte of it; SnapshotError says what is wrong."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check(folder)
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    except (OSError, ValueError, SafetensorError) as error:
        raise SnapshotError(f"The snapshot {folder.name} cannot be read: {error}.") from error
    return Snapshot(tensors, state)


def check(folder: Path) -> None:
    """Raise SnapshotError unless every file of a snapshot is there and has its recorded hash."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, facts in files.items():
            path = folder / name
            size = path.stat().st_size
            if size != facts["bytes"]:
                raise SnapshotError(
                    f"The snapshot {folder.name} is damaged: {name} has {size:,} of "
                    f"{facts['bytes']:,} bytes."
                )
            if _sha256(path) != facts["sha256"]:
                raise SnapshotError(
                    f"The snapshot {folder.name} is damaged: {name} has changed bytes."
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"The snapshot {folder.name} is not whole: {error}.") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
