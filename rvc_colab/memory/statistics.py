"""What the manager did: counters, and a bounded list of events with their times."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

EVENTS_KEPT = 1000


@dataclass(frozen=True)
class Event:
    """One thing that happened; `what` is load, hit, evict, unload, wait, refuse, retry or fail."""

    seconds: float
    what: str
    name: str
    note: str = ""


@dataclass
class Statistics:
    """Counters since the start; `seconds_saved` sums the loads that hits spared."""

    loads: int = 0
    hits: int = 0
    evictions: int = 0
    failures: int = 0
    retries: int = 0
    waits: int = 0
    refusals: int = 0
    seconds_loading: float = 0.0
    seconds_saved: float = 0.0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))

    def note(self, seconds: float, what: str, name: str, note: str = "") -> None:
        """Remember one event."""
        self.events.append(Event(seconds, what, name, note))

    def as_dict(self) -> dict[str, Any]:
        """Return the counters without the events."""
        counters = asdict(self)
        del counters["events"]
        return counters

    def recent(self, count: int) -> list[Event]:
        """Return the last events, oldest first."""
        return list(self.events)[-count:]
