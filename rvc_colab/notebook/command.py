"""Run outside programs: output streamed, last words kept, and nothing outlives the notebook.

A program runs under a small supervisor, which stops the program's whole process group as soon as
this process is gone, however it went.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

LAST_LINES = 40
GRACE_SECONDS = 1.0  # from SIGTERM to SIGKILL
STOP_SECONDS = 3.0

# The supervisor (argv: grace in seconds, program…). It ends when its input closes or its parent
# changes: then the group gets SIGTERM and, after the grace, SIGKILL. Bare Python, one thread.
_SUPERVISOR = """
import ctypes, os, select, signal, subprocess, sys, time
parent = os.getppid()
try:
    prctl = ctypes.CDLL(None).prctl
except (OSError, AttributeError):  # not on Linux
    prctl = lambda *_: 0
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
def restored():
    os.setpgid(0, 0)
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: should the supervisor itself be killed
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
try:
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, preexec_fn=restored)
except OSError as error:
    print(f"{sys.argv[2]}: {error.strerror}", flush=True)
    sys.exit(127)
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
while child.poll() is None and not asked and os.getppid() == parent:
    if select.select([0], [], [], 0.5)[0] and not os.read(0, 1):
        break
def kill(number):
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass
code = child.poll()
kill(signal.SIGTERM)
end = time.monotonic() + float(sys.argv[1])
while child.poll() is None and time.monotonic() < end:
    time.sleep(0.02)
kill(signal.SIGKILL)
child.wait()
sys.exit(child.returncode if code is None else code)
"""


def say(line: str) -> None:
    """Show one line in the cell's output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Outcome:
    """How a program ended: its code and its last lines."""

    code: int
    last_words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last lines as one text."""
        return "\n".join(self.last_words)


def run(
    command: Sequence[str],
    show: Callable[[str], None] = say,
    environ: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a program to its end, hand each line of its output to `show`, keep the last ones.

    An interrupt stops the program's process group before it is passed on.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    process = _supervised(command, environ)
    try:
        for line in process.stdout or ():
            if text := line.rstrip():
                last.append(text)
                show(text)
        return Outcome(process.wait(), tuple(last))
    finally:
        _stop(process)


class Child:
    """A supervised program in the background: its lines so far, and `stop()`."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = _supervised(command, environ, grace_seconds)
        self._stop_seconds = grace_seconds + STOP_SECONDS - GRACE_SECONDS
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether the program still runs."""
        return self._process.poll() is None

    @property
    def silent(self) -> bool:
        """Tell whether no more lines will come: the program has ended or closed its output."""
        return not self._reader.is_alive()

    @property
    def code(self) -> int | None:
        """The program's exit code, None while it runs."""
        return self._process.poll()

    def wait_for(self, find: Callable[[str], str | None], timeout_seconds: float) -> str | None:
        """Wait until a line yields something; None when the program ended or the time is up."""
        end = time.monotonic() + timeout_seconds
        with self._news:
            while True:
                for line in self.lines:
                    if found := find(line):
                        return found
                left = end - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    return None
                self._news.wait(min(left, 1.0))

    def stop(self) -> None:
        """Stop the program and everything it started. May be called twice."""
        _stop(self._process, self._stop_seconds)
        self._reader.join(STOP_SECONDS)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


def _supervised(
    command: Sequence[str],
    environ: Mapping[str, str] | None,
    grace_seconds: float = GRACE_SECONDS,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SUPERVISOR, str(grace_seconds), *command],
        stdin=subprocess.PIPE,  # never written: its end tells the supervisor that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=None if environ is None else dict(environ),
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[str], seconds: float = STOP_SECONDS) -> None:
    """Let the supervisor end its group; should it hang, kill it, and its child dies with it."""
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
