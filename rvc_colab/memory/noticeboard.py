"""What this user's running programs have loaded: each writes it down, `rvc-colab gpu` reads it.

One small file per process in a local folder that only this user can read. A note whose process is
gone, or that was not renewed in time, counts for nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.workspace import own_folder, write_atomically

if TYPE_CHECKING:
    from rvc_colab.memory.lifecycle import Lifecycle

_log = logging.getLogger(__name__)

RENEW_SECONDS = 20.0
PATIENCE_SECONDS = 60.0  # beyond two renewals, until a silent program counts as gone


class Noticeboard:
    """The notes of this machine's programs in `folder`; `clock` gives seconds since the epoch."""

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.time, process: int | None = None
    ) -> None:
        self._folder, self._clock = folder, clock
        self._process = process or os.getpid()
        self._posted: dict[str, Any] = {}
        self._broken = False

    @property
    def _own(self) -> Path:
        return self._folder / f"{self._process}.json"

    def post(self, lifecycle: Lifecycle) -> None:
        """Write down what this process has loaded, when it changed or the note grows old."""
        note = _note(lifecycle, self._process)
        now = self._clock()
        known = {key: value for key, value in self._posted.items() if key != "seconds"}
        if self._broken or (known == note and now - self._posted["seconds"] < RENEW_SECONDS):
            return
        self._posted = note | {"seconds": now}
        try:
            own_folder(self._folder)
            with write_atomically(self._own) as temporary:
                temporary.write_text(json.dumps(self._posted), encoding="utf-8")
        except OSError as error:  # a full or foreign disk: others see less, nothing else is lost
            self._broken = True
            _log.warning("Other programs cannot see what is loaded here: %s", error)

    def withdraw(self) -> None:
        """Take the note of this process away."""
        self._posted = {}
        with contextlib.suppress(OSError):
            self._own.unlink()

    def others(self) -> list[dict[str, Any]]:
        """Return the notes of the other programs that still run, the newest first."""
        notes = []
        with contextlib.suppress(OSError):
            own_folder(self._folder)
            for path in self._folder.glob("*.json"):
                if path != self._own and (note := self._read(path)) is not None:
                    notes.append(note)
        return sorted(notes, key=lambda note: -note["seconds"])

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            age = self._clock() - note["seconds"]
            pause = max(RENEW_SECONDS, float(note["interval"]))
            if age <= 2 * pause + PATIENCE_SECONDS and _lives(int(note["pid"])):
                return dict(note)
            path.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            _log.debug("The note %s is not readable.", path)
        return None


def _note(lifecycle: Lifecycle, process: int) -> dict[str, Any]:
    """Collect what others may want to know, without the numbers that change all the time."""
    manager, monitor = lifecycle.manager, lifecycle.monitor
    models = [dataclasses.asdict(model) for model in manager.loaded()]
    for model in models:
        model["idle_seconds"] = 0.0
    return {
        "pid": process,
        "program": " ".join([_program(Path(sys.argv[0] or "python")), *sys.argv[1:2]]),
        "interval": manager.config.memory_monitoring_interval,
        "tasks": lifecycle.tasks,
        "models": models,
        "alerts": [alert.message for alert in monitor.raised],
    }


def _lives(process: int) -> bool:
    if sys.platform == "win32":  # there is no harmless signal there: the age must do
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _program(path: Path) -> str:
    """Name a program by its file, one run as `python -m` by its package."""
    return path.parent.name if path.name in {"__main__.py", "__init__.py"} else path.name
