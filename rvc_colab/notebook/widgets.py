"""What cells show: the job panel, sounds, and the card an error ends in. Only this file displays.

Works with ipywidgets 7 and 8; without it the same facts are plain text, without IPython they go to
stdout.
"""

from __future__ import annotations

import contextlib
import functools
import html
import importlib
import importlib.util
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rvc_colab.errors import RVCError
from rvc_colab.notebook.command import say
from rvc_colab.notebook.jobs import DONE, FAILED, LOST, STOPPED, Job, JobState, clock

REDRAW_SECONDS = 1.0
TEXT_SECONDS = 10.0
PLAIN_BYTES = 1_500_000  # larger sounds go to the browser as mp3
PLAYED_SECONDS = 600.0
CURVES = ("mel", "kl", "total")  # the first that the run's numbers have is drawn
_COLOURS = {DONE: "#2e7d32", STOPPED: "#b26a00", FAILED: "#c62828", LOST: "#c62828"}
_P = ParamSpec("_P")
_R = TypeVar("_R")


# --------------------------------------------------------------------------------- error cards


class CellStop(Exception):
    """Ends a cell, and Run all with it, in its sentence; IPython shows no traceback for it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message, self.hint = message, hint

    def _render_traceback_(self) -> list[str]:
        lines = [f"✗ {self.message}"]
        return [*lines, f"→ {self.hint}"] if self.hint else lines


@contextlib.contextmanager
def card(debug: bool = False) -> Iterator[None]:
    """End the cell with the error's two lines instead of a traceback; with `debug` show it all."""
    try:
        yield
    except (CellStop, KeyboardInterrupt, SystemExit):
        raise
    except RVCError as error:
        if debug:
            raise
        raise CellStop(error.message, error.hint) from None
    except Exception as error:
        if debug:
            raise
        raise CellStop(*_unexpected(error)) from None


def carded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a verb end in a card when it fails."""

    @functools.wraps(function)
    def wrapped(*arguments: _P.args, **options: _P.kwargs) -> _R:
        with card():
            return function(*arguments, **options)

    return wrapped


def _unexpected(error: Exception) -> tuple[str, str]:
    from rvc_colab.notebook.drive import explain

    if isinstance(error, OSError) and error.errno:
        told = explain(error)
        return told.message, told.remedy
    words = str(error).strip().splitlines()
    what = type(error).__name__ + (f": {words[0]}" if words else "")
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
    return f"Something unexpected failed ({what}, at {place}).", "Run the cell again; all is kept."


# ---------------------------------------------------------------------------------- the panel


class Panel:
    """Show one job: stage, progress, time left, losses, last lines, the sound at the end, Stop.

    `follow()` keeps it up to date from a thread, so that the kernel stays free; `attend()` from the
    cell itself, until the job has finished.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._widgets = ipywidgets()
        self._drawn = 0.0
        self._said = ""
        self._attended = False
        if self._widgets:
            self._body = self._widgets.HTML()
            self._stop = self._widgets.Button(
                description="Stop", tooltip="Finish the step, save, and end", icon="stop"
            )
            self._stop.on_click(self._stop_clicked)
            self.box = self._widgets.VBox([self._body, self._stop])

    def show(self) -> Panel:
        """Put the panel into the cell's output."""
        state = self.job.state()
        if self._widgets:
            self._draw(state)
            _display(self.box)
        else:
            self._say(state)
        return self

    def follow(self) -> threading.Thread | None:
        """Keep the panel up to date in the background; without widgets only say how to look."""
        if not self._widgets:
            say("It runs in the background; the next cell shows how far it is.")
            return None
        thread = threading.Thread(target=self.job.wait, kwargs={"watch": self._redraw}, daemon=True)
        thread.start()
        return thread

    def attend(self) -> JobState:
        """Wait for the end in this cell; an interrupt leaves the job running."""
        if self._widgets:  # clicks only arrive when the cell has ended: its own stop is the way
            self._stop.layout.display = "none"
            self._attended = True
        state = self.job.wait(watch=self._redraw)
        if not self._widgets and (path := sound_of(state)):
            play(path)
        return state

    def _stop_clicked(self, button: object) -> None:
        self.job.stop()
        self._draw(self.job.state())

    def _redraw(self, state: JobState) -> None:
        pace = REDRAW_SECONDS if self._widgets else TEXT_SECONDS
        fresh = state.finished or (not self._widgets and state.stage not in self._said)
        if not fresh and time.monotonic() - self._drawn < pace:
            return
        self._drawn = time.monotonic()
        if self._widgets:
            self._draw(state)
        else:
            self._say(state)

    def _draw(self, state: JobState) -> None:
        sound = sound_of(state)
        self._body.value = panel_html(self.job, state) + (player_html(sound) if sound else "")
        self._stop.disabled = state.finished or state.status == "stopping"
        self._stop.layout.display = "none" if state.finished or self._attended else ""

    def _say(self, state: JobState) -> None:
        if (words := state.in_words()) != self._said:
            self._said = words
            say(words)


def panel_html(job: Job, state: JobState) -> str:
    """Draw a job's state as HTML; every word in it is escaped."""
    colour = _COLOURS.get(state.status, "#1565c0")
    first, _, rest = state.in_words().partition("\n")
    parts = [f'<div style="border-left:4px solid {colour};padding:4px 12px;max-width:720px">']
    parts.append(f"<b>{html.escape(first)}</b>")
    if rest:
        parts.append(f"<div>{html.escape(rest)}</div>")
    if not state.finished:
        share = state.share
        width = 100 if share is None else round(100 * share, 1)
        shade = ";opacity:.25" if share is None else ""
        bar = f"width:{width}%;height:8px;background:{colour}{shade}"
        parts.append(f'<div style="background:#8884;margin:6px 0"><div style="{bar}"></div></div>')
        if state.begun:
            parts.append(f"<small>for {clock(max(0, state.updated - state.begun))}</small>")
    parts.append(curve_svg(job.losses()))
    parts += [f"<div>{html.escape(line)}</div>" for line in state.result.get("warnings", [])[:5]]
    if lines := job.log(4):
        text = html.escape("\n".join(line[:160] for line in lines))
        parts.append(f'<pre style="font-size:11px;opacity:.75;margin:4px 0">{text}</pre>')
    return "".join([*parts, "</div>"])


def curve_svg(rows: Sequence[dict[str, float]], width: int = 640, height: int = 140) -> str:
    """Draw a loss over its steps as inline SVG; empty with fewer than two finite points."""
    name = next((name for name in CURVES if rows and name in rows[-1]), "")
    points = [(float(row["step"]), float(row[name])) for row in rows if name and name in row]
    points = [(x, y) for x, y in points if abs(y) < float("inf")]
    if len(points) < 2:
        return ""
    steps, values = zip(*points)
    low, high = min(values), max(values)
    across = max(steps[-1] - steps[0], 1e-9)
    up = max(high - low, 1e-9)
    spots = [
        (8 + (x - steps[0]) / across * (width - 16), 20 + (high - y) / up * (height - 40))
        for x, y in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    label = f"{name} loss {values[-1]:.3g} at step {steps[-1]:.0f} (from {low:.3g} to {high:.3g})"
    text = f'<text x="8" y="13" font-size="11" fill="currentColor">{html.escape(label)}</text>'
    curve = f'<polyline points="{line}" fill="none" stroke="#1565c0" stroke-width="1.5"/>'
    return f'<svg width="{width}" height="{height}" role="img">{text}{curve}</svg>'


# ---------------------------------------------------------------------------- sounds, pictures


def play(path: Path) -> None:
    """Show a player for a sound file; a long one as mp3, at most its first ten minutes."""
    if not _kernel():
        say(f"{path.name}: {path}")
        return
    _display_html(player_html(path))


def player_html(path: Path) -> str:
    """Return a player with the sound inside; the reason in words where it cannot be read."""
    try:
        data, kind, note = player_data(path)
    except (OSError, RVCError) as error:
        return f"<div>{html.escape(f'{path} cannot be played: {error}')}</div>"
    source = f"data:audio/{kind};base64,{b64encode(data).decode()}"
    name = html.escape(path.name + note)
    return f'<div>{name}</div><audio controls preload="metadata" src="{source}"></audio>'


def sound_of(state: JobState) -> Path | None:
    """Return what there is to hear of a finished job: the conversion, or the run's last sample."""
    if not state.finished:
        return None
    if target := state.result.get("target"):
        return Path(target) if Path(target).is_file() else None
    samples = Path(state.history).parent / "samples" if state.history else None
    found = sorted(samples.glob("*.flac")) if samples and samples.is_dir() else []
    return found[-1] if found else None


def player_data(path: Path) -> tuple[bytes, str, str]:
    """Return what the browser is sent: bytes, kind, and a note where it is not all."""
    if path.stat().st_size <= PLAIN_BYTES and path.suffix.lower() in {".wav", ".mp3", ".ogg"}:
        return path.read_bytes(), path.suffix.lower()[1:], ""
    import tempfile

    from rvc_colab.audio.files import AudioReader, AudioWriter

    with tempfile.TemporaryDirectory(prefix="rvc_colab_") as scratch:
        target, seconds = Path(scratch) / "player.mp3", 0.0
        with AudioReader(path) as reader, AudioWriter(target, reader.sample_rate) as writer:
            for block in reader.blocks(10.0):
                writer.write(block)
                seconds += len(block) / reader.sample_rate
                if seconds >= PLAYED_SECONDS:
                    break
        data = target.read_bytes()
    return data, "mpeg", f" (the first 10 minutes; all of it: {path})" * (seconds >= PLAYED_SECONDS)


def show_picture(path: Path) -> None:
    """Show a PNG."""
    if not _kernel():
        say(str(path))
        return
    data = b64encode(path.read_bytes()).decode()
    _display_html(f'<img style="max-width:100%" src="data:image/png;base64,{data}"/>')


def ipywidgets() -> Any:
    """Return the ipywidgets module where a notebook can show widgets, else None."""
    if not _kernel() or importlib.util.find_spec("ipywidgets") is None:
        return None
    try:
        return importlib.import_module("ipywidgets")
    except Exception:  # a broken install must not cost the work its display
        return None


def _kernel() -> bool:
    """Tell whether a kernel shows what is displayed."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module and hasattr(module, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")


def _display(item: object) -> None:
    importlib.import_module("IPython.display").display(item)


def _display_html(text: str) -> None:
    _display(importlib.import_module("IPython.display").HTML(text))
