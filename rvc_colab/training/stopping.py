"""Stop requests: Ctrl-C, the system's terminate signal, a time limit, or the one who watches."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from rvc_colab.progress import Progress

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class StopRequests:
    """Collect stop requests while the block runs; a second Ctrl-C breaks off at once.

    Signals can only be caught in the main thread; elsewhere only the others count.
    """

    def __init__(self, progress: Progress, minutes: float | None = None) -> None:
        self._progress = progress
        self._deadline = None if minutes is None else time.monotonic() + minutes * 60
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._caught) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number

    @property
    def reason(self) -> str:
        """Say why to stop; empty when there is no reason."""
        if self._signal is not None:
            return f"stopped by {signal.Signals(self._signal).name}"
        if self._progress.cancelled:
            return "stopped on request"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "the time limit was reached"
        return ""
