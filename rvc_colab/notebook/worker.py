"""The process behind a background job: `python -m rvc_colab.notebook.worker FOLDER`.

It runs one verb, and tells where it stands in the folder's `state.json`. SIGTERM asks it to stop:
the step is finished and saved first.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rvc_colab.errors import Cancelled, RVCError
from rvc_colab.notebook import jobs
from rvc_colab.notebook.jobs import DONE, FAILED, LOG, RUNNING, STOPPED, JobState
from rvc_colab.progress import SilentProgress

WRITE_SECONDS = 0.5
ETA_WINDOW_SECONDS = 60.0
_log = logging.getLogger("rvc_colab.job")


class FileProgress(SilentProgress):
    """Draw progress into a job's state file."""

    def __init__(self, folder: Path, state: JobState) -> None:
        super().__init__()
        self.folder, self.state = folder, state
        self._written = 0.0
        self._marks: deque[tuple[float, int]] = deque()

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage, and say so in the log."""
        _log.info("%s", name)
        self._marks = deque([(time.monotonic(), 0)])
        self.state = replace(self.state, stage=name, done=0, total=total, eta_seconds=None, note="")
        self.write()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count units; the file is replaced twice a second at most."""
        done = self.state.done + units
        self.state = replace(self.state, done=done, note=note or self.state.note)
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.write()

    def write(self, **changes: Any) -> None:
        """Replace the state file."""
        self._written = time.monotonic()
        self.state = replace(
            self.state, **{"updated": time.time(), "eta_seconds": self._eta(), **changes}
        )
        jobs.write_state(self.folder, self.state)

    def _eta(self) -> float | None:
        """Return the seconds left at the pace of the last minute."""
        now, done, total = time.monotonic(), self.state.done, self.state.total
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > ETA_WINDOW_SECONDS:
            self._marks.popleft()
        first, before = self._marks[0]
        if not total or done <= before or done >= total:
            return None
        return round((now - first) / (done - before) * (total - done), 1)


def main(words: list[str]) -> int:
    """Run the job of a folder."""
    folder = Path(words[0])
    _redirect(folder / LOG)
    request = jobs.read_json(folder / jobs.REQUEST)
    progress = FileProgress(folder, replace(jobs.read_state(folder), pid=os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: progress.cancel())
    progress.write(status=RUNNING)
    try:
        _prepare_process()
        result = VERBS[request["verb"]](request, progress)
    except Cancelled:
        progress.write(status=STOPPED)
        return 0
    except BaseException as error:
        message, hint = _told(error, folder)
        _log.error("%s %s", message, hint)
        progress.write(status=FAILED, message=message, hint=hint)
        return 2
    ended = str(result.get("ended", ""))
    status = STOPPED if "stopped" in ended or progress.cancelled else DONE
    progress.write(status=status, result=result, message=_closing_words(ended))
    return 0


def _prepare_process() -> None:
    """Settle torch's allocator before torch is loaded, and let memory be given back by itself."""
    from rvc_colab.memory import default_lifecycle
    from rvc_colab.memory.allocator import apply_allocator_settings, limit_primitive_cache

    apply_allocator_settings(os.environ)
    limit_primitive_cache(os.environ)
    default_lifecycle().start_automatic()


def _closing_words(ended: str) -> str:
    if ended in {"", "finished"}:
        return ""
    return f"It ended because {ended}." if ended.startswith("the ") else ""


def _told(error: BaseException, folder: Path) -> tuple[str, str]:
    """Put any failure into two lines; the traceback of an unexpected one goes to the log."""
    if isinstance(error, RVCError):
        return error.message, error.hint
    traceback.print_exc()
    text = str(error).strip().splitlines()
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The memory ran out.", "Choose a smaller batch size, or close other work."
    told = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    return f"The job failed unexpectedly ({told}).", f"The details are in {folder / LOG}."


def _convert(request: dict[str, Any], progress: FileProgress) -> dict[str, Any]:
    from rvc_colab import api

    _bring_weights(request, progress)
    result = api.convert(
        **request["arguments"],
        **request["settings"],
        workspace=request["workspace"],
        progress=progress,
    )
    failures = getattr(result, "failures", None)
    if failures and not getattr(result, "converted", None):
        first = failures[0]
        raise RVCError(f"{first.source.name}: {first.message}", first.hint)
    return {**result.record(), "words": result.in_words()}


def _bring_weights(request: dict[str, Any], progress: FileProgress) -> None:
    """Fetch what the conversion needs and the cache lacks: the voice's encoder, RMVPE if named."""
    from rvc_colab.features.encoder_names import TINY, default_encoder, is_known_encoder
    from rvc_colab.store.assets import fetch, is_present
    from rvc_colab.store.voices import show_voice
    from rvc_colab.workspace import Workspace

    place, settings = Workspace.locate(request["workspace"]), request["settings"]
    voice = show_voice(request["arguments"]["voice"], place)
    needed = [settings.get("encoder") or default_encoder(voice.encoder)]
    if voice.has_f0 and settings.get("f0_method") == "rmvpe":
        needed.append("rmvpe")
    for name in needed:
        known = name == "rmvpe" or (is_known_encoder(name) and name != TINY)
        if known and not is_present(name, place.cache):
            fetch(name, place.cache, progress=progress)


def _train(request: dict[str, Any], progress: FileProgress) -> dict[str, Any]:
    from rvc_colab import api
    from rvc_colab.workspace import Workspace

    place = Workspace.locate(request["workspace"])
    name = request["arguments"]["name"]
    progress.write(history=str(place.run(name) / "history.jsonl"))
    settings = request["settings"]
    if request.get("processes") is not None:
        settings = {"processes": int(request["processes"]), **settings}
    result = api.train(**request["arguments"], **settings, workspace=place.root, progress=progress)
    return {
        "voice": str(result.voice),
        "index": str(result.index) if result.index else None,
        "ended": result.report.get("ended", ""),
        "warnings": list(result.warnings),
        "report": result.report,
    }


VERBS: dict[str, Callable[[dict[str, Any], FileProgress], dict[str, Any]]] = {
    "convert": _convert,
    "train": _train,
}


def _redirect(log: Path) -> None:
    """Send output and the package's log lines to a file, crashes of C code included."""
    with log.open("ab") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("rvc_colab")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
