"""Load admitted models: once for all who wait, with bounded retries when memory runs out."""

from __future__ import annotations

import copy
import logging

from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.accounts import Entry, State
from rvc_colab.memory.admission import Admission
from rvc_colab.memory.estimates import Estimator
from rvc_colab.memory.exhaustion import is_out_of_memory, release_frames
from rvc_colab.memory.placement import Plan, gigabytes

_log = logging.getLogger(__name__)

LOAD_RETRIES = 2


class Loader:
    """Turn the fresh entries of a plan into models."""

    def __init__(self, admission: Admission, estimator: Estimator) -> None:
        self._admission, self._estimator = admission, estimator

    def fulfil(self, plan: Plan) -> list[str] | None:
        """Load what is fresh in a plan and wait for what others load; return notes.

        None when another caller abandoned an entry of this plan, which is then given back: ask
        anew. Raises what a loader raised, also when another thread ran it.
        """
        notes = [plan.note] if plan.note else []
        try:
            for entry in plan.fresh:
                self._load(entry, notes)
            if self._all_ready(plan):
                return notes
        except BaseException:
            self._abandon(plan)
            raise
        self._admission.release(plan.holding)
        return None

    def _load(self, entry: Entry, notes: list[str]) -> None:
        for attempt in range(1 + LOAD_RETRIES):
            started = self._admission.clock()
            try:
                model = entry.family.load(entry.key, entry.placement)
            except Exception as error:
                if not is_out_of_memory(error):
                    self._failed(entry, error)
                    raise
                release_frames(error)
                if attempt == LOAD_RETRIES:
                    refusal = self._out_of_memory(entry)
                    self._failed(entry, refusal)
                    raise refusal from error
            else:
                self._arrived(entry, model, started)
                return
            notes.append(self._give_way(entry))

    def _arrived(self, entry: Entry, model: object, started: float) -> None:
        measured = entry.family.size(model)
        self._estimator.saw_resident(entry.key, entry.placement, measured)
        admission = self._admission
        with admission.lock:
            entry.model, entry.state = model, State.READY
            entry.loaded_at = entry.last_used = admission.clock()
            entry.load_seconds = entry.loaded_at - started
            device = entry.placement.device
            admission.accounts.settle(entry, measured or entry.estimate.resident)
            admission.statistics.loads += 1
            admission.statistics.seconds_loading += entry.load_seconds
            note = f"{gigabytes(entry.resident)} in {entry.load_seconds:.2f} s"
            admission.statistics.note(entry.loaded_at, "load", entry.name, note)
            admission.changed()
            over = -admission.accounts.left(device, admission.devices.room(device))
            if over > 0:  # it took more than was thought: make good for it from what is idle
                idle = list(admission.accounts.idle(device))
                admission.evict(admission.accounts.victims(device, over) or idle, "evict")

    def _give_way(self, entry: Entry) -> str:
        """Free all that can be freed on the entry's device before another attempt."""
        admission, device = self._admission, entry.placement.device
        with admission.lock:
            idle = list(admission.accounts.idle(device))
            admission.evict(idle, "evict")
            admission.statistics.retries += 1
            note = (
                f"{entry.name} found no memory: caches emptied, {len(idle)} idle models unloaded, "
                "loading again."
            )
            admission.statistics.note(admission.clock(), "retry", entry.name, note)
        admission.devices.empty_caches()
        _log.warning("%s", note)
        return note

    def _out_of_memory(self, entry: Entry) -> MemoryBudgetError:
        return MemoryBudgetError(
            f"{entry.name} ran out of memory {1 + LOAD_RETRIES} times while loading, although "
            f"{gigabytes(entry.estimate.resident)} were set aside.",
            "Close other programs that use the device, or choose --device cpu.",
        )

    def _failed(self, entry: Entry, error: Exception) -> None:
        admission = self._admission
        with admission.lock:
            entry.error = error
            admission.statistics.failures += 1
            admission.statistics.note(admission.clock(), "fail", entry.name, str(error))
            admission.drop(entry)

    def _all_ready(self, plan: Plan) -> bool:
        """Wait for entries that others load; False when one of them was abandoned."""
        entries = plan.holding.entries
        with self._admission.lock:
            for entry in entries:
                while entry.state is State.LOADING:
                    self._admission.lock.wait()
                if entry.error is not None:
                    raise _again(entry.error)
            return all(entry.state is State.READY for entry in entries)

    def _abandon(self, plan: Plan) -> None:
        """Give back a plan that failed half-way; who waits for its other entries asks anew."""
        with self._admission.lock:
            for entry in plan.fresh:
                if entry.state is State.LOADING:
                    self._admission.drop(entry)
        self._admission.release(plan.holding)


def _again(error: BaseException) -> BaseException:
    """Copy an error for another thread: tracebacks of one instance would grow together."""
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:
        return error
