"""Let requests in when there is room: evict what is idle, wait for what is busy, refuse by name.

One lock guards the accounts; models are loaded and unloaded outside of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.accounts import Accounts, Entry, Holding, State
from rvc_colab.memory.devices import Devices
from rvc_colab.memory.estimates import Estimator
from rvc_colab.memory.placement import Plan, Planner, Request, gigabytes
from rvc_colab.memory.statistics import Statistics

_log = logging.getLogger(__name__)

_MOVING = (State.LOADING, State.LEAVING)


class Admission:
    """Keep the accounts of one manager. `lock` must be held where a method says so."""

    def __init__(self, devices: Devices, estimator: Estimator, clock: Callable[[], float]) -> None:
        self.devices, self.clock = devices, clock
        self.lock = threading.Condition(threading.Lock())
        self.accounts = Accounts()
        self.planner = Planner(self.accounts, devices, estimator)
        self.statistics = Statistics()
        self._generation = 0
        self._settled: dict[int, int] = {}  # thread → generation in which it found no room

    def changed(self) -> None:
        """Wake everyone who waits, since the accounts are different now. With the lock held."""
        self._generation += 1
        self.lock.notify_all()

    def admit(self, requests: Sequence[Request], preferred: str, deadline: float) -> Plan:
        """Wait until the requests fit, evicting idle models, and charge them.

        `deadline` is a time of time.monotonic. Raises MemoryBudgetError.
        """
        thread = threading.get_ident()
        useless: frozenset[str] = frozenset()
        with self.lock:
            try:
                while True:
                    plan = self.planner.best(requests, thread, preferred, useless)
                    stale = [e for e in self.accounts.entries if e.idle and e.leave_when_idle]
                    if stale and plan.fresh:
                        self.evict(stale, "unload")
                    elif plan.fits:
                        self._charge(plan)
                        return plan
                    elif plan.missing and plan.possible and plan.victims:
                        self.evict(plan.victims, "evict")
                    elif self._is_hopeless(plan, thread):
                        useless |= self._give_up(requests, plan, preferred, useless)
                    else:
                        self._wait(requests, plan, deadline)
            finally:
                self._settled.pop(thread, None)

    def _charge(self, plan: Plan) -> None:
        self.accounts.hold(plan.holding)
        if plan.note:
            _log.warning("%s", plan.note)

    def _is_hopeless(self, plan: Plan, thread: int) -> bool:
        """Tell whether waiting cannot help: too large, or all who could give way wait too."""
        if plan.blocked:
            return False
        if not plan.possible:
            return True
        short = plan.missing
        if any(e.state in _MOVING and e.placement.device in short for e in self.accounts.entries):
            return False
        holders = {holder for device in short for holder in self.accounts.holders(device)}
        stuck = {t for t, generation in self._settled.items() if generation == self._generation}
        return holders <= stuck | {thread}

    def _give_up(
        self, requests: Sequence[Request], plan: Plan, preferred: str, useless: frozenset[str]
    ) -> frozenset[str]:
        """Return the devices to try no more. Raises MemoryBudgetError when no other is left."""
        full = frozenset(plan.devices)
        if full <= useless or not set(self.planner.candidates(preferred)) - useless - full:
            raise self._refusal(requests, plan, "")
        return full

    def _wait(self, requests: Sequence[Request], plan: Plan, deadline: float) -> None:
        thread, left = threading.get_ident(), deadline - time.monotonic()
        if left <= 0:
            raise self._refusal(requests, plan, ": others kept the room for too long")
        if thread not in self._settled:
            self.statistics.waits += 1
            self.statistics.note(self.clock(), "wait", _names(requests))
        if self._settled.get(thread) != self._generation:
            self._settled[thread] = self._generation
            self.lock.notify_all()  # those who wait already may now all be stuck
        self.lock.wait(left)

    def _refusal(self, requests: Sequence[Request], plan: Plan, why: str) -> MemoryBudgetError:
        parts = []
        for device in plan.devices:
            room = self.devices.room(device)
            here = [e for e in self.accounts.entries if e.placement.device == device]
            beside = ", ".join(sorted({str(e.key) for e in here}))
            parts.append(
                f"{gigabytes(plan.needs.get(device, 0))} on {device}, where models may take "
                f"{gigabytes(self.accounts.capacity(room))} of {gigabytes(room.total)} and "
                f"{gigabytes(max(0, self.accounts.left(device, room)))} are left"
                + (f" beside {beside}" if beside else "")
            )
        self.statistics.refusals += 1
        self.statistics.note(self.clock(), "refuse", _names(requests))
        return MemoryBudgetError(
            f"{_names(requests)} needs {' and '.join(parts)}{why}.",
            "Let other work finish, unload models, raise max_memory_usage_percent, "
            "or choose another device.",
        )

    def release(self, holding: Holding) -> None:
        """End a holding; what was marked to leave goes now."""
        with self.lock:
            self.accounts.release(holding, self.clock())
            leaving = [e for e in holding.entries if e.idle and e.leave_when_idle]
            self.evict(leaving, "unload")
            self.changed()

    def evict(self, entries: Sequence[Entry], what: str) -> None:
        """Unload idle entries. With the lock held; it is let go while the families unload."""
        if not entries:
            return
        for entry in entries:
            entry.state = State.LEAVING
        self.lock.release()
        try:
            for entry in entries:
                _unload(entry)
        finally:
            self.lock.acquire()
            for entry in entries:
                self.accounts.entries.remove(entry)
                self.statistics.evictions += what == "evict"
                self.statistics.note(self.clock(), what, entry.name)
            self.changed()

    def drop(self, entry: Entry) -> None:
        """Take a failed entry from the books. With the lock held."""
        entry.state = State.FAILED
        if entry in self.accounts.entries:
            self.accounts.entries.remove(entry)
        self.changed()


def _unload(entry: Entry) -> None:
    model, entry.model = entry.model, None
    try:
        entry.family.unload(model)
    except Exception:  # the reference is dropped anyway, which frees what matters
        _log.warning("Unloading %s failed.", entry.name, exc_info=True)


def _names(requests: Sequence[Request]) -> str:
    return ", ".join(str(request.key) for request in requests)
