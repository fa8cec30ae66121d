"""Who holds which memory: entries, leases and the room that is left. No threads, no devices' calls.

The manager keeps one `Accounts` under its lock; everything here is arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rvc_colab.memory.devices import Room
from rvc_colab.memory.families import Estimate, ModelFamily, ModelKey, Placement


class State(Enum):
    """Where an entry stands in its life."""

    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"
    FAILED = "failed"


@dataclass(eq=False)
class Entry:
    """One model on one device in one precision, from the decision to load it to its end."""

    key: ModelKey
    placement: Placement
    family: ModelFamily
    estimate: Estimate
    resident: int
    signature: tuple[object, ...] = ()
    state: State = State.LOADING
    model: Any = None
    references: int = 0
    last_used: float = 0.0
    loaded_at: float = 0.0
    load_seconds: float = 0.0
    hits: int = 0
    leave_when_idle: bool = False
    error: BaseException | None = None

    @property
    def idle(self) -> bool:
        """Tell whether nobody uses it and it may go."""
        return self.state is State.READY and self.references == 0

    @property
    def name(self) -> str:
        """Name it for a person."""
        return f"{self.key} on {self.placement.device}"


@dataclass(eq=False)
class Holding:
    """The entries one caller uses together, and the working memory charged per device.

    The models of one thread work one after the other, so the largest counts, not the sum.
    """

    entries: list[Entry]
    thread: int
    working: dict[str, int] = field(default_factory=dict)


@dataclass
class Accounts:
    """All entries and holdings. `limit` is the share of a device that models may take, 0..1."""

    limit: float = 1.0
    entries: list[Entry] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    pinned: set[ModelKey] = field(default_factory=set)
    peak: dict[str, int] = field(default_factory=dict)
    priority: Callable[[ModelKey], int] = lambda key: 0

    def find(self, key: ModelKey, device: str, dtype: str | None) -> list[Entry]:
        """Find the entries of a key on a device, in one precision or in any."""
        return [
            e
            for e in self.entries
            if e.key == key
            and e.placement.device == device
            and dtype in (None, e.placement.dtype)
            and e.state is not State.FAILED
        ]

    def used(self, device: str) -> int:
        """Sum what is charged to a device."""
        resident = sum(e.resident for e in self.entries if e.placement.device == device)
        return resident + self.promised(device)

    def promised(self, device: str) -> int:
        """Sum the working memory that the callers of this moment may take."""
        return sum(self._promises(device).values())

    def more_working(self, device: str, thread: int, working: int) -> int:
        """Return by how much a further use of `working` bytes raises what is promised."""
        return max(0, working - self._promises(device).get(thread, 0))

    def _promises(self, device: str) -> dict[int, int]:
        most: dict[int, int] = {}
        for holding in self.holdings:
            wanted = holding.working.get(device, 0)
            most[holding.thread] = max(most.get(holding.thread, 0), wanted)
        return most

    def capacity(self, room: Room) -> int:
        """Return the most that models may take of a device."""
        return int(room.total * self.limit)

    def left(self, device: str, room: Room) -> int:
        """Return what may still be charged, by our own books and by what the device says."""
        arriving = sum(
            e.resident
            for e in self.entries
            if e.placement.device == device and e.state is State.LOADING
        )
        free = room.free - arriving - self.promised(device)
        return min(self.capacity(room) - self.used(device), free)

    def hold(self, holding: Holding) -> None:
        """Add a holding, and those of its entries that are about to load."""
        for entry in holding.entries:
            if entry not in self.entries:
                self.entries.append(entry)
            entry.references += 1
        self.holdings.append(holding)
        for device in {entry.placement.device for entry in holding.entries}:
            self._note_peak(device)

    def release(self, holding: Holding, now: float) -> None:
        """End a holding; its entries were used until `now`."""
        self.holdings.remove(holding)
        for entry in holding.entries:
            entry.references -= 1
            entry.last_used = now

    def settle(self, entry: Entry, resident: int) -> None:
        """Replace an entry's estimate by what it holds."""
        entry.resident = resident
        self._note_peak(entry.placement.device)

    def _note_peak(self, device: str) -> None:
        self.peak[device] = max(self.peak.get(device, 0), self.used(device))

    def idle(self, device: str, keep: Iterable[Entry] = ()) -> Iterator[Entry]:
        """Yield what may be evicted: low priority first, then the least recently used."""
        kept = set(map(id, keep))
        free = [
            e
            for e in self.entries
            if e.idle
            and e.placement.device == device
            and e.key not in self.pinned
            and id(e) not in kept
        ]
        yield from sorted(free, key=lambda e: (self.priority(e.key), e.last_used))

    def victims(self, device: str, missing: int, keep: Iterable[Entry] = ()) -> list[Entry] | None:
        """Choose idle entries worth `missing` bytes; None when all of them are not enough."""
        chosen: list[Entry] = []
        for entry in self.idle(device, keep):
            if missing <= 0:
                break
            chosen.append(entry)
            missing -= entry.resident
        return chosen if missing <= 0 else None

    def holders(self, device: str) -> set[int]:
        """Return the threads that use something on a device."""
        return {
            h.thread
            for h in self.holdings
            if device in h.working or any(e.placement.device == device for e in h.entries)
        }
