"""A run killed at random moments goes on whole, and as if nothing had been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_at_random_moments_lose_nothing_that_was_saved() -> None:
    script = ROOT / "benchmarks" / "kill_training.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", str(KILLS), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout
    record = json.loads(done.stdout.splitlines()[-1])
    assert sum(record["kills"].values()) == KILLS and record["faults"] == []
    assert record["fell_back_to_an_older_one"] > 0 and record["straight_equals_killed"]
