"""What a caller gets from the manager: the right to use a model for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.accounts import Entry


class Lease:
    """The right to use one model until the `with` block ends.

    `notes` says what was done on the way: a retry, a fallback to the CPU.
    """

    def __init__(self, entry: Entry, notes: list[str]) -> None:
        self._entry: Entry | None = entry
        self.key, self.placement, self.notes = entry.key, entry.placement, notes

    @property
    def model(self) -> Any:
        """Return the model. Raises MemoryBudgetError once the lease has ended."""
        return self._live().model

    @property
    def device(self) -> str:
        """Return the device the model is on, as torch names it."""
        return self.placement.device

    @property
    def sample_rate(self) -> int | None:
        """Return the model's own sample rate in Hz, if it has one."""
        entry = self._live()
        return entry.family.sample_rate(entry.model)

    def end(self) -> None:
        """End the lease; the manager does so when the `with` block is left."""
        self._entry = None

    def _live(self) -> Entry:
        if self._entry is None:
            hint = "Use the model inside the `with` block only."
            raise MemoryBudgetError(f"The lease of {self.key} has ended.", hint)
        return self._entry


@dataclass(frozen=True)
class Loaded:
    """One loaded model, for a report. Bytes and seconds; `idle_seconds` is 0 while in use."""

    key: str
    device: str
    dtype: str
    state: str
    resident: int
    working: int
    users: int
    hits: int
    pinned: bool
    load_seconds: float
    idle_seconds: float
