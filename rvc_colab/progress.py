"""One protocol for progress and cancellation; each front door draws it its own way."""

from __future__ import annotations

import threading
from typing import Protocol, runtime_checkable

from rvc_colab.errors import Cancelled


@runtime_checkable
class Progress(Protocol):
    """What a long journey reports to, and asks whether it may go on."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a named stage of `total` units (None: unknown)."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units; `note` is a short line for a person (losses, a file name)."""

    def check(self) -> None:
        """Raise `Cancelled` when a stop was asked for."""

    @property
    def cancelled(self) -> bool:
        """Tell whether a stop was asked for, without raising."""


class SilentProgress:
    """Draw nothing, but carry a stop request: the base of the drawing ones."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a named stage."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units."""

    def cancel(self) -> None:
        """Ask the journey to stop at its next safe point. Safe from signals and other threads."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Tell whether a stop was asked for."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `Cancelled` when a stop was asked for."""
        if self.cancelled:
            raise Cancelled()
