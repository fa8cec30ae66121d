"""Programs are streamed, their last words kept, and none outlives this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rvc_colab.notebook.command import Child, run

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 10.0


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _gone(pid: int) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not _alive(pid)


# A program that starts another one, as npx and pyngrok do, and names both.
FAMILY = "sleep 60 & echo pids $$ $!; wait"


def _pids(line: str) -> str | None:
    return line.removeprefix("pids ") if line.startswith("pids ") else None


def test_lines_are_shown_as_they_come_and_the_last_ones_kept() -> None:
    shown: list[str] = []
    outcome = run(["sh", "-c", "for i in $(seq 100); do echo line $i; done; exit 3"], shown.append)
    assert outcome.code == 3 and len(shown) == 100
    assert outcome.last_words[-1] == "line 100" and len(outcome.last_words) == 40


def test_a_program_that_is_not_there_says_so() -> None:
    outcome = run(["no-such-program-here"], lambda line: None)
    assert outcome.code == 127 and "No such file" in outcome.text


def test_an_interrupt_stops_the_program() -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.extend(map(int, line.split()[1:]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", FAMILY], interrupt)
    assert all(_gone(pid) for pid in pids) and len(pids) == 2


def test_stopping_takes_the_whole_family() -> None:
    child = Child(["sh", "-c", FAMILY])
    pids = [int(pid) for pid in (child.wait_for(_pids, PATIENCE_SECONDS) or "").split()]
    child.stop()
    child.stop()
    assert len(pids) == 2 and all(_gone(pid) for pid in pids)
    assert not child.running


def test_a_family_that_ignores_politeness_goes_too() -> None:
    child = Child(
        [
            sys.executable,
            "-c",
            (
                "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
                "print('pids', os.getpid(), flush=True); time.sleep(60)"
            ),
        ]
    )
    pid = int(child.wait_for(_pids, PATIENCE_SECONDS) or 0)
    child.stop()
    assert pid and _gone(pid)


def test_waiting_ends_when_the_program_dies() -> None:
    child = Child(["sh", "-c", "echo some last words; exit 4"])
    assert child.wait_for(lambda line: None, PATIENCE_SECONDS) is None
    child.stop()
    assert child.code == 4 and list(child.lines) == ["some last words"]


def test_waiting_is_bounded() -> None:
    child = Child(["sleep", "60"])
    assert child.wait_for(lambda line: None, 0.2) is None
    assert child.running
    child.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_parent(number: signal.Signals) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from rvc_colab.notebook.command import Child
child = Child(["sh", "-c", {FAMILY!r}])
print(child.pid, child.wait_for(lambda l: l[5:] if l.startswith("pids") else None, 10), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.send_signal(number)
    parent.wait()
    assert len(pids) == 3 and all(_gone(pid) for pid in pids)


def test_a_killed_supervisor_takes_its_program_along() -> None:
    child = Child(
        [
            sys.executable,
            "-c",
            "import os,time; print('pids', os.getpid(), flush=True); time.sleep(60)",
        ]
    )
    pid = int(child.wait_for(_pids, PATIENCE_SECONDS) or 0)
    os.kill(child.pid, signal.SIGKILL)
    assert pid and _gone(pid)
    child.stop()
