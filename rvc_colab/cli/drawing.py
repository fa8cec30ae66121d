"""How the command line draws: progress on stderr, results on stdout, errors in two lines."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rvc_colab.errors import RVCError
from rvc_colab.progress import SilentProgress

REDRAW_SECONDS = 0.2


class ConsoleProgress(SilentProgress):
    """Draw one line per stage on stderr; redrawn in place on a terminal, sparse in a log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._name, self._total, self._done, self._note = "", None, 0, ""  # type: ignore[assignment]
        self._begun = self._drawn = time.monotonic()

    def stage(self, name: str, total: int | None = None) -> None:
        """Finish the line of the last stage and begin a new one."""
        self.close()
        self._name, self._total, self._done, self._note = name, total, 0, ""  # type: ignore[assignment]
        self._begun = self._drawn = time.monotonic()
        if not self._live:
            self._write(f"{name} …\n")

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count units and redraw when it is time."""
        self._done += units
        self._note = note or self._note
        pause = REDRAW_SECONDS if self._live else 50 * REDRAW_SECONDS
        if time.monotonic() - self._drawn >= pause:
            self._draw()

    def close(self) -> None:
        """End the current line."""
        if self._name and self._live:
            self._draw()
            self._write("\n")
        self._name = ""

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        spent = self._drawn - self._begun
        count = f"{self._done}/{self._total}" if self._total else f"{self._done}"
        left = ""
        if self._total and 0 < self._done < self._total:
            left = f", {_clock(spent / self._done * (self._total - self._done))} left"
        line = f"{self._name}: {count} in {_clock(spent)}{left}  {self._note}"
        self._write(f"\r\x1b[2K{line[:140]}" if self._live else f"{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"


class _Shown(logging.StreamHandler):  # type: ignore[type-arg]
    """Write log lines to stderr and remember them, so that the result need not repeat them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self.texts.append(record.getMessage())
        super().emit(record)


def set_up_logging(verbose: bool) -> None:
    """Send the package's warnings (with `verbose`: everything) to stderr.

    Libraries that speak of their own retries and paths are only heard with `verbose`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that it cannot take must not end us
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = _Shown()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("rvc_colab")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logger.propagate = False
    if not verbose:  # read when these are imported, which is later
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for library in ("huggingface_hub", "transformers", "faiss", "numba"):
        logging.getLogger(library).setLevel(logging.INFO if verbose else logging.ERROR)


def say(text: str) -> None:
    """Print one result for a person, without the warnings that stand on stderr already."""
    handlers = logging.getLogger("rvc_colab").handlers
    shown = {text for handler in handlers if isinstance(handler, _Shown) for text in handler.texts}
    print("\n".join(line for line in text.splitlines() if line.partition(": ")[2] not in shown))


def say_json(record: dict[str, Any]) -> None:
    """Print one machine-readable line, in plain ASCII where stdout cannot take its letters."""
    line = json.dumps(record, ensure_ascii=False, default=str)
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        line = json.dumps(record, default=str)
    print(line)


def say_profile(profile: dict[str, Any]) -> None:
    """Print time and memory per stage on stderr, and where the trace is."""
    print(profile["table"], file=sys.stderr)
    print(f"{profile['trace']}: open it in ui.perfetto.dev", file=sys.stderr)


def redraw(text: str) -> None:
    """Print how things stand now; on a terminal over what stood before."""
    clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
    print(f"{clear}{text}", flush=True)


def say_error(error: RVCError) -> None:
    """Print an error in two lines on stderr: what was found, what to do."""
    message = " ".join(error.message.split())
    print(f"error: {message}", file=sys.stderr)
    if error.hint:
        print(f"  → {' '.join(error.hint.split())}", file=sys.stderr)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out under a header in aligned columns."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
