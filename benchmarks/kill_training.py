"""Kill a training run at random moments and see what is left of it.

    python benchmarks/kill_training.py --kills 100

One process loads torch, then forks a child per sitting: a tiny voice that goes on from its newest
snapshot and saves all the time, until SIGKILL. Between the sittings the snapshots are looked at as
a resume does. Some sittings meet a disk that is full for a while (a small tmpfs where one can be
mounted, else writes that fail with ENOSPC), some a newest snapshot with a changed byte. At the end
a run that is killed half way is compared with one that is not, bit for bit.

Prints a table, and with --json one line; the exit code is 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import logging
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import SnapshotError
from rvc_colab.progress import SilentProgress
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.fit import Fitting
from rvc_colab.training.machine import open_machine
from rvc_colab.training.networks import build_networks
from rvc_colab.training.snapshots import Snapshots, check, read_snapshot

RATE = 16000
SHORTEST, LONGEST = 0.05, 0.4  # seconds from the first step of a sitting to its kill
SAVE_SECONDS = 0.02
TMPFS_BYTES = 3 << 20
CONFIG = TrainingConfig(
    sample_rate=RATE, version="v1", encoder="tiny", pretrained="none", speakers=1,
    hidden_channels=8, filter_channels=8, encoder_layers=1, upsample_initial_channels=16,
    gin_channels=4, discriminator_scale=0.01, segment_frames=8, batch_size=1,
    mixed_precision="fp32", device="cpu", epochs=100_000,
).model_copy(update={"save_minutes": SAVE_SECONDS / 60})  # fmt: skip


class Shared:
    """Numbers that outlive a killed child: resumed step, last step done, time of the first one."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 64)

    def write(self, place: int, value: int) -> None:
        """Write one number."""
        struct.pack_into("q", self._memory, 8 * place, value)

    def read(self, place: int) -> int:
        """Read one number."""
        return int(struct.unpack_from("q", self._memory, 8 * place)[0])


RESUMED, STEP, SAVED = 0, 1, 2


class Watched(SilentProgress):
    """Report every step to the parent."""

    def __init__(self, shared: Shared, fitting: Fitting) -> None:
        super().__init__()
        self._shared, self._fitting = shared, fitting

    def advance(self, units: int = 1, note: str = "") -> None:
        """Note how far the run came."""
        self._shared.write(STEP, self._fitting.position.step)


def clips() -> ClipStore:
    """Make four short clips of noise."""
    draw = np.random.default_rng(0)
    made = [
        Clip(
            0.1 * draw.standard_normal(RATE // 4).astype(np.float32),
            draw.standard_normal((12, 256)).astype(np.float16),
            np.full(25, 200.0, np.float32),
        )
        for _ in range(4)
    ]
    return ClipStore(made, build_networks(CONFIG).spectrogram)


def sitting(folder: Path, shared: Shared, steps: int | None, full: bool) -> None:
    """Train in this process, from the newest snapshot on, until the end or a kill."""
    if full:
        _fill_disk(folder)
    config = CONFIG.model_copy(update={"max_steps": steps})
    machine, snapshots = open_machine(config), Snapshots(folder, keep=2)
    fitting = Fitting(config, machine, build_networks(config), clips(), snapshots)
    fitting.resume()
    shared.write(RESUMED, fitting.position.step)
    fitting.run(Watched(shared, fitting))


def _fill_disk(folder: Path) -> None:
    """Let the disk be full: by a file that takes the rest of the tmpfs, else by failing writes."""
    if os.path.ismount(folder.parent):
        free = shutil.disk_usage(folder.parent).free
        (folder.parent / "ballast").write_bytes(b"\0" * max(0, free - 4096))
        return
    import safetensors.torch

    def refuse(tensors: object, path: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    safetensors.torch.save_file = refuse


def forked(folder: Path, shared: Shared, steps: int | None = None, full: bool = False) -> int:
    """Begin a sitting in a child and return its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        logging.disable(logging.CRITICAL)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # never outlive the parent (Linux)
        sitting(folder, shared, steps, full)
        status = 0
    finally:
        os._exit(status)


@dataclass
class Tally:
    """What the kills left."""

    kills: Counter[str] = field(default_factory=Counter)
    fell_back: int = 0
    lost_steps: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        lost = sorted(self.lost_steps) or [0]
        return {
            "kills": dict(self.kills),
            "fell_back_to_an_older_one": self.fell_back,
            "lost_steps_median": lost[len(lost) // 2],
            "lost_steps_most": lost[-1],
            "faults": self.faults,
        }


def kill_once(folder: Path, kind: str, draw: random.Random, tally: Tally) -> None:
    """Let one sitting run for a random time, kill it, and judge what it left."""
    snapshots, shared = Snapshots(folder, keep=2), Shared()
    damaged = kind == "damaged newest" and _damage(snapshots, folder)
    before = _newest_whole(snapshots)
    child = forked(folder, shared, full=kind == "disk full")
    if not _first_step(child, shared, before):
        tally.faults.append(f"{kind}: the sitting did not begin")
        return
    time.sleep(draw.uniform(SHORTEST, LONGEST))
    reached = shared.read(STEP)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (folder.parent / "ballast").unlink(missing_ok=True)
    inside = any(folder.glob(".unfinished-step-*"))
    tally.kills[kind if kind != "plain" else "inside a save" if inside else "between saves"] += 1
    if shared.read(RESUMED) != before:
        tally.faults.append(f"{kind}: resumed {shared.read(RESUMED)}, whole was {before}")
    after = Snapshots(folder, keep=2)
    newest = _newest_whole(after)
    if newest < before:
        tally.faults.append(f"{kind}: step {newest} is left, {before} was there")
    if damaged:
        tally.fell_back += shared.read(RESUMED) < damaged
    # What an earlier kill left unfinished gives way on a full disk, so that a snapshot may fit.
    if kind != "disk full" or newest > before:
        tally.lost_steps.append(reached - newest)


def _first_step(child: int, shared: Shared, before: int) -> bool:
    for _ in range(6000):
        if shared.read(STEP) > before:
            return True
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.01)
    return False


def _newest_whole(snapshots: Snapshots) -> int:
    found = Snapshots(snapshots.folder, keep=2).read_newest()
    return 0 if found is None else found.step


def _whole(path: Path) -> bool:
    try:
        check(path)
    except SnapshotError:
        return False
    return True


def _damage(snapshots: Snapshots, folder: Path) -> int:
    """Change a byte of the newest snapshot, with an older whole one there; return its step."""
    while len(whole := [s for s in snapshots.steps() if _whole(snapshots.path(s))]) < 2:
        os.waitpid(forked(folder, Shared(), max(whole, default=0) + 1), 0)
    path = snapshots.path(whole[-1]) / "generator.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return whole[-1]


def straight_equals_killed(root: Path) -> bool:
    """Compare 20 steps with 10 steps, a kill in the middle of going on, and the rest."""
    for name, stops in (("straight", [20]), ("killed", [10, None, 20])):
        for steps in stops:
            shared = Shared()
            child = forked(root / name, shared, steps)
            if steps is None:
                _first_step(child, shared, 11)
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if steps is None:  # what it saved after step 10 is forgotten: the 10 others come anew
                for step in [s for s in Snapshots(root / name).steps() if s > 19]:
                    shutil.rmtree(Snapshots(root / name).path(step))
    one, two = (
        read_snapshot(root / name / "step-00000020").tensors for name in ("straight", "killed")
    )
    return all(
        torch.equal(tensor, two[group][name])
        for group in one
        if group != "random"
        for name, tensor in one[group].items()
    )


def _mounted(folder: Path) -> bool:
    """Put a small tmpfs at the folder, where that is allowed."""
    options = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
    try:
        return subprocess.run(options, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> int:
    """Kill, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tmpfs", action="store_true", help="a really full disk; needs root")
    parser.add_argument("--progress", action="store_true", help="say each ten kills what is left")
    parser.add_argument("--json", action="store_true", help="print one line")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    draw, tally, begun = random.Random(asked.seed), Tally(), time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    disk = root / "disk"
    disk.mkdir()
    mounted = asked.tmpfs and _mounted(disk)
    logging.disable(logging.CRITICAL)
    try:
        sitting(root / "warm", Shared(), 1, full=False)  # everything is loaded before the forks
        for number in range(asked.kills):
            kind = {3: "damaged newest", 4: "disk full"}.get(number % 5, "plain")
            kill_once(disk / "snapshots", kind, draw, tally)
            if asked.progress and number % 10 == 9:
                print(f"{number + 1} kills", json.dumps(tally.record()), file=sys.stderr)
        equal = straight_equals_killed(root)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=False)
        shutil.rmtree(root, ignore_errors=True)
    record = tally.record() | {
        "straight_equals_killed": equal,
        "full_disk": "tmpfs" if mounted else "injected",
        "seconds": round(time.monotonic() - begun, 1),
    }
    if asked.json:
        print(json.dumps(record))
    else:
        for kind, count in sorted(tally.kills.items()):
            print(f"{kind:<16} {count:>4} kills")
        for name, value in record.items():
            print(f"{name:<28} {value}")
    return 0 if equal and not tally.faults and sum(tally.kills.values()) == asked.kills else 1


if __name__ == "__main__":
    sys.exit(main())
