"""The runs of a workspace: their stored settings, state, size; what can be cleaned away."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import SnapshotError, TrainingError
from rvc_colab.training.extract import Hearing
from rvc_colab.training.networks import synthesizer_config
from rvc_colab.training.snapshots import STATE, Snapshot, Snapshots, read_snapshot
from rvc_colab.workspace import Workspace, write_atomically

_log = logging.getLogger(__name__)

RUN_FILE = "run.json"
ASIDE = "snapshots-before-"
TRAINING = "training"
# What a run cannot change half way: the shape of its networks and what they hear.
FIXED = (
    "sample_rate", "version", "use_f0", "encoder", "speakers", "segment_frames",
    "hidden_channels", "filter_channels", "encoder_layers", "upsample_initial_channels",
    "gin_channels", "discriminator_scale",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run's `run.json` says: recordings, settings, state in words, and whose it is."""

    name: str
    recordings: str
    settings: dict[str, Any]
    state: str = TRAINING
    begun: str = ""
    changed: str = ""
    process: int = 0
    host: str = ""

    def config(self, changes: dict[str, Any] | None = None) -> TrainingConfig:
        """Return the stored settings with some of them changed. Raises ConfigError."""
        from rvc_colab import settings

        known = {k: v for k, v in self.settings.items() if k in TrainingConfig.model_fields}
        return settings.load(TrainingConfig, known | (changes or {}))

    @property
    def alive(self) -> bool:
        """Tell whether the process that wrote it still trains (on this machine)."""
        if self.state != TRAINING or self.host != socket.gethostname():
            return False
        if self.process == os.getpid():
            return True
        try:
            os.kill(self.process, 0)
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Summary:
    """One line of the list of runs."""

    name: str
    state: str
    step: int | None
    epoch: int | None
    best_score: float | None
    best_epoch: int | None
    snapshots: int
    bytes: int
    changed: str = ""

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Cleaned:
    """What was removed, and how many bytes that gave back."""

    removed: list[str] = field(default_factory=list)
    bytes: int = 0

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def in_words(self) -> str:
        """Say what was removed."""
        if not self.removed:
            return "There was nothing to clean."
        what = "\n".join(f"  {line}" for line in self.removed)
        return f"{self.bytes / 1e6:.1f} MB given back:\n{what}"


def begin_run(name: str, recordings: Path, config: TrainingConfig, workspace: Workspace) -> None:
    """Store a run's settings as it begins or goes on.

    Raises TrainingError when it has snapshots and a setting changed that they cannot follow.
    """
    folder, old = workspace.run(name), read_run(name, workspace)
    settings = config.model_dump(mode="json", exclude={"restart"})
    if old is not None and not config.restart and Snapshots(folder / "snapshots").steps():
        changed = [
            f"{key} = {old.settings[key]}, now it is {settings[key]}"
            for key in FIXED
            if key in old.settings and old.settings[key] != settings[key]
        ]
        if changed:
            raise TrainingError(
                f"The run {name} was begun with {'; '.join(changed)}: its model cannot follow.",
                "Use the old setting, another name, or --restart to put the old run aside.",
            )
    now = _now()
    begun = old.begun if old is not None and not config.restart else now
    place = str(Path(recordings).expanduser().absolute())
    made = Run(name, place, settings, begun=begun, changed=now)
    owned = dataclasses.replace(made, process=os.getpid(), host=socket.gethostname())
    _write(owned, workspace)


@contextlib.contextmanager
def held_alone(name: str, workspace: Workspace) -> Iterator[None]:
    """Hold a run for this process during the block; the system lets go of it when that dies.

    Raises TrainingError when another process of this machine has it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    place = hashlib.sha256(str(workspace.run(name)).encode()).hexdigest()[:16]
    path = workspace.cache / "training" / "held" / place  # local: a mounted drive has no locks
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise TrainingError(
                f"{name} is being trained now, by process {handle.read() or 'unknown'}.",
                "Wait for it or stop it, or train under another name.",
            ) from None
        except OSError as error:
            _log.warning("Nothing keeps a second training of %s away: %s", name, error)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def end_run(name: str, state: str, workspace: Workspace) -> None:
    """Note how a sitting ended, in words."""
    run = read_run(name, workspace)
    if run is not None:
        _write(Run(**{**asdict(run), "state": state, "changed": _now()}), workspace)


def _write(run: Run, workspace: Workspace) -> None:
    with write_atomically(workspace.run(run.name) / RUN_FILE) as temporary:
        temporary.write_text(
            json.dumps(asdict(run), indent=1, ensure_ascii=False), encoding="utf-8"
        )


def read_run(name: str, workspace: Workspace) -> Run | None:
    """Read a run's `run.json`; None where there is none that can be read."""
    try:
        record = json.loads((workspace.run(name) / RUN_FILE).read_text(encoding="utf-8"))
        return Run(**{k: v for k, v in record.items() if k in Run.__dataclass_fields__})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def stored_run(name: str, workspace: Workspace) -> Run:
    """Read a run's `run.json`. Raises TrainingError when the run or its settings are not there."""
    run = read_run(name, workspace)
    if run is None:
        known = ", ".join(summary.name for summary in list_runs(workspace)) or "none"
        raise TrainingError(
            f"There is no run {name} with stored settings in {workspace.logs}.",
            f"Runs there are: {known}. Begin one: rvc-colab train {name} FOLDER",
        )
    return run


def fixed_facts(config: TrainingConfig, hearing: Hearing) -> dict[str, Any]:
    """Name what a snapshot and its run must agree on."""
    size = synthesizer_config(config)
    return {
        "model": json.loads(json.dumps(size.to_list())),
        "version": size.version,
        "f0": size.has_f0,
        "discriminator scale": config.discriminator_scale,
        "encoder": hearing.encoder,
    }


def set_aside(folder: Path) -> None:
    """Put a run's snapshots aside before it is started over."""
    if folder.is_dir() and any(folder.iterdir()):
        target = folder.with_name(f"{ASIDE}{datetime.now(UTC):%Y%m%d-%H%M%S}")
        folder.rename(target)
        _log.warning("The old run was put aside as %s.", target)


def list_runs(workspace: Workspace) -> list[Summary]:
    """Summarize every run of the workspace, the newest first."""
    made = [
        _summary(folder, workspace)
        for folder in workspace.logs.iterdir()
        if folder.is_dir()
        and ((folder / RUN_FILE).is_file() or (folder / "dataset.json").is_file())
    ]
    return sorted(made, key=lambda summary: (summary.changed, summary.name), reverse=True)


def _summary(folder: Path, workspace: Workspace) -> Summary:
    run, snapshots = read_run(folder.name, workspace), Snapshots(folder / "snapshots")
    steps, position = snapshots.steps(), {}
    for step in reversed(steps):  # only read, not checked: a list must be quick
        position = position_of(snapshots, step)
        if position:
            break
    state = run.state if run is not None else "unknown" if steps else "only looked at"
    if run is not None and state == TRAINING and not run.alive:
        state = "interrupted"
    return Summary(
        folder.name,
        state,
        position.get("step"),
        position.get("epoch"),
        position.get("best_score"),
        position.get("best_epoch"),
        len(steps),
        _size(folder),
        "" if run is None else run.changed,
    )


def position_of(snapshots: Snapshots, step: int) -> dict[str, Any]:
    """Read where a snapshot stands, unchecked; empty when it cannot be read."""
    try:
        return dict(json.loads((snapshots.path(step) / STATE).read_text("utf-8"))["position"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def choose_snapshot(name: str, snapshots: Snapshots, epoch: int | str | None = None) -> Snapshot:
    """Read the newest whole snapshot, that of an epoch, or the `best` one.

    Raises SnapshotError when there is no such one, naming those that are there.
    """
    newest = snapshots.read_newest()
    if newest is None:
        raise SnapshotError(
            f"The run {name} has no snapshot to make a voice of.", f"Run: rvc-colab fit {name}"
        )
    if epoch is None:
        return newest
    if epoch == "best":
        step = newest.state["position"].get("best_step")
        if step is None:
            raise SnapshotError(
                f"No snapshot of {name} is the best: no recordings were kept apart to measure on.",
                "Train with --validation-recordings 2, or export the newest: leave --epoch out.",
            )
        return read_snapshot(snapshots.path(step))
    there = {position_of(snapshots, step).get("epoch"): step for step in snapshots.steps()}
    if epoch not in there:
        kept = ", ".join(str(number) for number in sorted(e for e in there if e is not None))
        raise SnapshotError(
            f"No snapshot of epoch {epoch} is kept of {name}; there are those of epoch {kept}.",
            "Choose one of them or `best`; --keep-snapshots keeps more.",
        )
    return read_snapshot(snapshots.path(there[epoch]))


def clean_run(name: str, workspace: Workspace, everything: bool = False) -> Cleaned:
    """Remove what a run does not need to go on: runs put aside, half-written files, old samples.

    With `everything` its whole folder goes (the voice and index stay). Raises TrainingError while
    it is being trained, or when there is no such run.
    """
    folder, run = workspace.run(name), read_run(name, workspace)
    if not folder.is_dir():
        stored_run(name, workspace)
    if run is not None and run.alive:
        raise TrainingError(
            f"{name} is being trained now, by process {run.process}.", "Stop it first."
        )
    snapshots = folder / "snapshots"
    doomed = [folder] if everything else [
        *folder.glob(f"{ASIDE}*"),
        *snapshots.glob(".unfinished-*"),
        *sorted((folder / "samples").glob("*"), key=lambda path: path.stat().st_mtime)[:-3],
    ]  # fmt: skip
    doomed += [workspace.tensorboard(name)]
    removed, freed = [], 0
    for path in doomed:
        if path.exists():
            freed += _size(path)
            removed.append(
                str(path.relative_to(workspace.root) if _inside(path, workspace) else path)
            )
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Cleaned(removed, freed)


def _inside(path: Path, workspace: Workspace) -> bool:
    return path.is_relative_to(workspace.root)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(item.stat().st_size for item in files if item.is_file())


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat()
