"""What a task needs comes in, what it does not goes first; and memory is given back by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rvc_colab.config import GpuConfig
from rvc_colab.errors import ConfigError, RVCError
from rvc_colab.memory.devices import CPU
from rvc_colab.memory.families import ModelKey
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.monitor import HYSTERESIS, MemoryMonitor
from rvc_colab.memory.noticeboard import Noticeboard
from rvc_colab.memory.probe import Sample

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskProfile:
    """A kind of work: the families it uses with their priorities, and the memory models may take.

    The higher the priority, the earlier a model is loaded and the later it is evicted.
    `limit_percent` None leaves the cap of the config. `only` sends idle models of other families
    away when the task starts, whether or not their room is needed.
    """

    name: str
    priorities: Mapping[str, int]
    limit_percent: float | None = None
    only: bool = False


PROFILES: dict[str, TaskProfile] = {
    profile.name: profile
    for profile in (
        TaskProfile("convert", {"voice": 4, "encoder": 3, "f0": 2, "index": 1}),
        # Training wants the device for itself: the models of its extraction may take a third.
        TaskProfile("train", {"encoder": 2, "f0": 1}, limit_percent=33.0, only=True),
        # Separators are large and used once, before the voice: the first to go again.
        TaskProfile("cover", {"voice": 4, "encoder": 3, "f0": 2, "index": 2, "separator": 1}),
        TaskProfile("speak", {"voice": 4, "speech": 3, "encoder": 3, "f0": 2, "index": 1}),
    )
}


@dataclass(frozen=True)
class TaskStart:
    """What starting a task did: models brought in, sent away, and left out with the reason."""

    task: str
    loaded: list[str] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


class Lifecycle:
    """Run tasks on one manager, and give memory back by itself while automatic management is on.

    While it is, `board` tells other programs what is loaded here.
    """

    def __init__(
        self, manager: ModelManager, monitor: MemoryMonitor, board: Noticeboard | None = None
    ) -> None:
        self.manager, self.monitor, self.board = manager, monitor, board
        self._lock = threading.Lock()
        self._profiles = dict(PROFILES)
        self._active: dict[str, int] = {}
        self._pins: dict[str, list[ModelKey]] = {}
        self._end_watch: Callable[[], None] | None = None

    # Tasks

    def add_profile(self, profile: TaskProfile) -> None:
        """Make a task known, or change one."""
        with self._lock:
            self._profiles[profile.name] = profile

    def preload_for_task(
        self, task: str, keys: Sequence[ModelKey | str] = (), device: str | None = None
    ) -> TaskStart:
        """Begin a task: what it does not need goes first, then `keys` come in and are kept.

        Highest priority first. A model that does not fit or fails is left out with its reason: the
        task itself will say so when it needs it. Raises ConfigError for an unknown task.
        """
        profile = self._profile(task)
        with self._lock:
            self._active[task] = self._active.get(task, 0) + 1
        self._apply_profiles()
        needed = self._needed_families()
        manager = self.manager
        start = TaskStart(task)
        if profile.only:
            start.evicted.extend(manager.evict_idle(choose=lambda key: key.family not in needed))
        wanted: list[ModelKey] = []
        for key in keys:
            try:
                wanted.append(manager.families.key(key))
            except RVCError as error:
                self._leave_out(str(key), error, start)
        for found in sorted(wanted, key=lambda k: -profile.priorities.get(k.family, 0)):
            self._bring(found, device, start)
        return start

    def _leave_out(self, key: str, error: RVCError, start: TaskStart) -> None:
        start.left_out[key] = error.message
        _log.warning("%s is not loaded ahead for %s: %s", key, start.task, error.message)

    def _bring(self, key: ModelKey, device: str | None, start: TaskStart) -> None:
        before = {loaded.key for loaded in self.manager.loaded()}
        try:
            self.manager.load(key, device)
        except RVCError as error:
            self._leave_out(str(key), error, start)
            return
        start.loaded.append(str(key))
        after = {loaded.key for loaded in self.manager.loaded()}
        start.evicted.extend(sorted(before - after))
        self.manager.pin(key)
        with self._lock:
            self._pins.setdefault(start.task, []).append(key)

    def cleanup_for_task(self, task: str) -> list[str]:
        """End a task: its models may go again, and those no other task needs do so now."""
        profile = self._profile(task)
        with self._lock:
            left = self._active.get(task, 0) - 1
            if left > 0:
                self._active[task] = left
                return []
            self._active.pop(task, None)
            pins = self._pins.pop(task, [])
            kept = {key for keys in self._pins.values() for key in keys}
        for key in pins:
            if key not in kept:
                self.manager.pin(key, pinned=False)
        self._apply_profiles()
        needed = self._needed_families()
        return self.manager.evict_idle(
            choose=lambda key: key.family in profile.priorities and key.family not in needed
        )

    @property
    def tasks(self) -> list[str]:
        """List the tasks that run now."""
        with self._lock:
            return list(self._active)

    def _profile(self, task: str) -> TaskProfile:
        with self._lock:
            if task in self._profiles:
                return self._profiles[task]
            known = ", ".join(self._profiles)
        raise ConfigError(f"There is no task {task!r}.", f"Known are: {known}.")

    def _running(self) -> list[TaskProfile]:
        with self._lock:
            return [self._profiles[name] for name in self._active]

    def _needed_families(self) -> set[str]:
        return {family for profile in self._running() for family in profile.priorities}

    def _apply_profiles(self) -> None:
        """Set the cap and the order of eviction to what the running tasks ask for."""
        running = self._running()
        limits = [p.limit_percent for p in running if p.limit_percent is not None]
        self.manager.limit_to(min(limits) if limits else None)
        priorities: dict[str, int] = {}
        for profile in running:
            for family, priority in profile.priorities.items():
                priorities[family] = max(priority, priorities.get(family, 0))
        self.manager.prioritise((lambda key: priorities.get(key.family, 0)) if running else None)

    # Automatic management

    @property
    def automatic(self) -> bool:
        """Tell whether memory is given back without being asked."""
        return self._end_watch is not None

    def start_automatic(self) -> bool:
        """Watch memory and give it back by itself; return whether the monitor runs."""
        with self._lock:
            if self._end_watch is None:
                self._end_watch = self.monitor.on_sample(self._look)
        return self.monitor.start()

    def stop_automatic(self) -> None:
        """Leave memory to those who load and unload by hand."""
        with self._lock:
            end, self._end_watch = self._end_watch, None
        if end is not None:
            end()
        self.monitor.stop()
        if self.board is not None:
            self.board.withdraw()

    def configure(self, config: GpuConfig, device: str | None = None) -> None:
        """Take new settings at once, without a restart."""
        self.manager.configure(config, device)
        self.monitor.configure(config)
        if self.automatic:
            self.monitor.start()

    def _look(self, sample: Sample) -> None:
        self.tend(sample)
        if self.board is not None:
            self.board.post(self)

    def tend(self, sample: Sample) -> list[str]:
        """Unload what was idle for too long, and idle models while memory runs short.

        Returns the names of what went. Does nothing unless `auto_cleanup_enabled`.
        """
        config = self.manager.config
        if not config.auto_cleanup_enabled:
            return []
        gone = self.manager.evict_idle(older_than=60.0 * config.idle_timeout_minutes)
        target = config.cleanup_threshold_percent - HYSTERESIS
        for device, used, total in _memory(sample):
            if total and 100.0 * used / total >= config.cleanup_threshold_percent:
                self.manager.devices.empty_caches()
                enough = int(used - total * target / 100.0)
                gone += self.manager.evict_idle(device, enough)
        if gone:
            _log.info("Gave memory back: %s.", ", ".join(gone))
        return gone


def _memory(sample: Sample) -> list[tuple[str, int, int]]:
    """Return (device, used, total) in bytes for all that hold models."""
    gpus = [(f"cuda:{gpu.index}", gpu.used_bytes, gpu.total_bytes) for gpu in sample.gpus]
    return [*gpus, (CPU, sample.ram_used_bytes, sample.ram_total_bytes)]
