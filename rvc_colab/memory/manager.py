"""Share models: load each once, lend it to many, evict the idle ones, never exceed the device.

    with manager.acquire("voice:/voices/anna.pth", device="auto") as lease:
        lease.model.infer(...)

Room for all models of one `acquire_all` is granted at once, so that two callers never each hold
half of what the other waits for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from rvc_colab.config import GpuConfig
from rvc_colab.memory.accounts import Entry, Holding, State
from rvc_colab.memory.admission import Admission
from rvc_colab.memory.devices import Devices, MachineDevices
from rvc_colab.memory.estimates import Estimator
from rvc_colab.memory.families import Families, ModelKey, Placement
from rvc_colab.memory.lease import Lease, Loaded
from rvc_colab.memory.loading import Loader
from rvc_colab.memory.placement import Plan, Request, at
from rvc_colab.memory.statistics import Statistics

WAIT_SECONDS = 60.0


class ModelManager:
    """Hold the models of one process. Safe from any thread.

    `wait_seconds` bounds how long an acquire waits for others to finish.
    """

    def __init__(
        self,
        families: Families,
        devices: Devices | None = None,
        config: GpuConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.families = families
        self.devices: Devices = devices or MachineDevices()
        self.estimator = Estimator()
        self._admission = Admission(self.devices, self.estimator, clock)
        self._loader = Loader(self._admission, self.estimator)
        self._clock, self._wait_seconds = clock, wait_seconds
        self._uses: dict[str, int] = {}
        self._preferred = "auto"
        self._task_percent: float | None = None
        self.configure(config or GpuConfig())

    # Settings

    def configure(self, config: GpuConfig, device: str | None = None) -> None:
        """Take new settings at once; `device` is where models go when a caller does not say."""
        with self._admission.lock:
            self.config = config
            self._preferred = device or self._preferred
            self._set_limit()

    def limit_to(self, percent: float | None) -> None:
        """Lower the cap below the config's for a task; None lifts it again."""
        with self._admission.lock:
            self._task_percent = percent
            self._set_limit()

    def _set_limit(self) -> None:
        most = self.config.max_memory_usage_percent
        percent = most if self._task_percent is None else min(most, self._task_percent)
        self._admission.accounts.limit = percent / 100.0
        self._admission.changed()

    def prioritise(self, priority: Callable[[ModelKey], int] | None) -> None:
        """Evict models of lower priority before others; None: the least recently used first."""
        with self._admission.lock:
            self._admission.accounts.priority = priority or (lambda key: 0)

    def pin(self, key: ModelKey | str, pinned: bool = True) -> None:
        """Keep a model from being evicted for others, or let it go again (`pinned=False`)."""
        found = self.families.key(key)
        with self._admission.lock:
            keep = self._admission.accounts.pinned
            (keep.add if pinned else keep.discard)(found)
            self._admission.changed()

    # Lending

    @contextlib.contextmanager
    def acquire(
        self,
        key: ModelKey | str,
        device: str | None = None,
        dtype: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Lease]:
        """Lend one model, loaded now if need be. Arguments and errors as `acquire_all`."""
        with self.acquire_all([key], device, dtype, timeout) as leases:
            yield leases[0]

    @contextlib.contextmanager
    def acquire_all(
        self,
        keys: Sequence[ModelKey | str],
        device: str | None = None,
        dtype: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[list[Lease]]:
        """Lend several models that one caller uses together, room for all granted at once.

        `device` is a torch name or "auto" (the one with the most room); `dtype` float32, float16
        or bfloat16, None for whatever is loaded. Raises MemoryBudgetError, naming the models, when
        they do not fit or when others keep the room for longer than `timeout` seconds; and what
        the family's loader raises.
        """
        plan, notes = self._obtain(keys, device, dtype, timeout)
        leases = [Lease(entry, notes) for entry in plan.holding.entries]
        try:
            with self._watched(plan.holding):
                yield leases
        finally:
            for lease in leases:
                lease.end()
            self._admission.release(plan.holding)

    def has_room(
        self, keys: Sequence[ModelKey | str], device: str | None = None, dtype: str | None = None
    ) -> bool:
        """Tell whether an `acquire_all` would be granted now, without waiting for anybody."""
        preferred = device or self._preferred
        requests = self._requests(keys, preferred, dtype)
        with self._admission.lock:
            plan = self._admission.planner.best(requests, threading.get_ident(), preferred)
        return plan.fits or (plan.possible and not plan.blocked and bool(plan.victims))

    def _requests(
        self, keys: Sequence[ModelKey | str], preferred: str, dtype: str | None
    ) -> list[Request]:
        requests = [self._request(key, dtype) for key in keys]
        names = self._admission.planner.candidates(preferred)
        for request in requests:  # guesses read files: do that before the lock is taken
            for name in names:
                place = Placement(name, at(request, name, names).dtype or "float32")
                self.estimator.estimate(request.family, request.key, place)
        return requests

    def _obtain(
        self,
        keys: Sequence[ModelKey | str],
        device: str | None,
        dtype: str | None,
        timeout: float | None,
    ) -> tuple[Plan, list[str]]:
        preferred = device or self._preferred
        requests = self._requests(keys, preferred, dtype)
        wait = self._wait_seconds if timeout is None else timeout
        deadline = time.monotonic() + wait
        while True:
            plan = self._admission.admit(requests, preferred, deadline)
            notes = self._loader.fulfil(plan)
            if notes is not None:
                self._count_hits(plan)
                return plan, notes

    def _request(self, key: ModelKey | str, dtype: str | None) -> Request:
        found = self.families.key(key)
        family = self.families.get(found.family)
        signature: list[object] = []
        for path in family.files(found):
            with contextlib.suppress(OSError):
                facts = path.stat()
                signature += [str(path), facts.st_size, facts.st_mtime_ns]
        if dtype is not None and dtype not in family.dtypes:
            dtype = family.dtypes[0]  # one model, not two that would be alike
        return Request(found, family, dtype, tuple(signature))

    def _count_hits(self, plan: Plan) -> None:
        with self._admission.lock:
            for entry in plan.holding.entries:
                if entry not in plan.fresh:
                    entry.hits += 1
                    self.statistics.hits += 1
                    self.statistics.seconds_saved += entry.load_seconds
                    self.statistics.note(self._clock(), "hit", entry.name)

    # Learning what a use takes

    def observe(self, key: ModelKey | str, placement: Placement, working: int) -> None:
        """Tell how many bytes one use of a model took besides the model itself."""
        self.estimator.saw_working(self.families.key(key), placement, working)

    @contextlib.contextmanager
    def _watched(self, holding: Holding) -> Iterator[None]:
        """Measure the peak of a use on devices that can tell, while nobody else uses them."""
        alone = self._enter_devices(holding)
        bases = {device: self.devices.start_peak(device) for device in alone}
        try:
            yield
        finally:
            for device, undisturbed in self._leave_devices(holding, alone).items():
                base, peak = bases[device], self.devices.peak(device)
                if undisturbed and base is not None and peak is not None:
                    entry = _largest(holding, device)
                    self.estimator.saw_working(entry.key, entry.placement, max(0, peak - base))

    def _enter_devices(self, holding: Holding) -> dict[str, int]:
        """Return the devices this holding has for itself, with the number of this use."""
        with self._admission.lock:
            alone = {}
            for device in holding.working:
                self._uses[device] = self._uses.get(device, 0) + 1
                others = [h for h in self._admission.accounts.holdings if device in h.working]
                moving = [
                    e
                    for e in self._admission.accounts.entries
                    if e.placement.device == device and e.state is not State.READY
                ]
                if others == [holding] and not moving:
                    alone[device] = self._uses[device]
            return alone

    def _leave_devices(self, holding: Holding, alone: dict[str, int]) -> dict[str, bool]:
        with self._admission.lock:
            loads = self._admission.accounts.entries
            return {
                device: self._uses[device] == number
                and not any(
                    e.placement.device == device and e.state is not State.READY for e in loads
                )
                for device, number in alone.items()
            }

    # By hand

    def load(
        self, key: ModelKey | str, device: str | None = None, dtype: str | None = None
    ) -> None:
        """Load a model ahead of its use. Errors as `acquire_all`."""
        with self.acquire(key, device, dtype):
            pass

    def unload(self, key: ModelKey | str) -> bool:
        """Unload a model now, or when its users are done; tell whether it was loaded at all."""
        found = self.families.key(key)
        self.estimator.forget(found)
        with self._admission.lock:
            self._admission.accounts.pinned.discard(found)
        return self._unload(lambda entry: entry.key == found) > 0

    def unload_all(self, pinned: bool = False) -> int:
        """Unload everything idle now, the rest when its users are done; return how many.

        Pinned models stay unless `pinned`.
        """
        keep = set() if pinned else self._admission.accounts.pinned
        count = self._unload(lambda entry: entry.key not in keep)
        self.devices.empty_caches()
        return count

    def _unload(self, choose: Callable[[Entry], bool]) -> int:
        with self._admission.lock:
            chosen = [e for e in self._admission.accounts.entries if choose(e)]
            for entry in chosen:
                entry.leave_when_idle = True
            self._admission.evict([entry for entry in chosen if entry.idle], "unload")
            return len(chosen)

    def evict_idle(
        self,
        device: str | None = None,
        enough: int | None = None,
        older_than: float = 0.0,
        choose: Callable[[ModelKey], bool] = lambda key: True,
    ) -> list[str]:
        """Evict idle, unpinned models; return their names.

        Of one `device` or of all; until `enough` bytes are freed (None: all of them); only those
        nobody used for `older_than` seconds, and those whose key `choose` takes.
        """
        names = []
        with self._admission.lock:
            accounts, now = self._admission.accounts, self._clock()
            devices = [device] if device else {e.placement.device for e in accounts.entries}
            chosen: list[Entry] = []
            for name in devices:
                freed = 0
                for entry in accounts.idle(name):
                    wanted = choose(entry.key) and now - entry.last_used >= older_than
                    if wanted and (enough is None or freed < enough):
                        chosen.append(entry)
                        freed += entry.resident
            names = [entry.name for entry in chosen]
            self._admission.evict(chosen, "evict")
        if names:
            self.devices.empty_caches()
        return names

    # Reports

    @property
    def statistics(self) -> Statistics:
        """Return the counters and events since the start."""
        return self._admission.statistics

    def used(self, device: str) -> int:
        """Return the bytes charged to a device: models, and the working memory of their users."""
        with self._admission.lock:
            return self._admission.accounts.used(device)

    def capacity(self, device: str) -> int:
        """Return the bytes models may take of a device."""
        return self._admission.accounts.capacity(self.devices.room(device))

    def peaks(self) -> dict[str, int]:
        """Return the most bytes that were ever charged to each device."""
        with self._admission.lock:
            return dict(self._admission.accounts.peak)

    def loaded(self) -> list[Loaded]:
        """List the models, the most recently used first."""
        with self._admission.lock:
            now, pinned = self._clock(), set(self._admission.accounts.pinned)
            entries = sorted(self._admission.accounts.entries, key=lambda e: -e.last_used)
            return [_describe(entry, now, entry.key in pinned) for entry in entries]


def _largest(holding: Holding, device: str) -> Entry:
    here = [entry for entry in holding.entries if entry.placement.device == device]
    return max(here, key=lambda entry: entry.estimate.working)


def _describe(entry: Entry, now: float, pinned: bool) -> Loaded:
    return Loaded(
        key=str(entry.key),
        device=entry.placement.device,
        dtype=entry.placement.dtype,
        state="in use" if entry.references else entry.state.value,
        resident=entry.resident,
        working=entry.estimate.working,
        users=entry.references,
        hits=entry.hits,
        pinned=pinned,
        load_seconds=entry.load_seconds,
        idle_seconds=max(0.0, now - entry.last_used) if entry.idle else 0.0,
    )
