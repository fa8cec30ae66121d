"""The report: the same facts for a person and for a program."""

from __future__ import annotations

import itertools
import json

import pytest
from simulated_memory import MIB, SimulatedDevice, SimulatedFamily

from rvc_colab.config import GpuConfig
from rvc_colab.memory.families import Families
from rvc_colab.memory.lifecycle import Lifecycle
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.monitor import MemoryMonitor
from rvc_colab.memory.probe import GpuSample, Sample
from rvc_colab.memory.reports import report, report_json, report_text, watch

GIB = 1024 * MIB


@pytest.fixture
def lifecycle() -> Lifecycle:
    device = SimulatedDevice(300 * MIB)
    family = SimulatedFamily(device, {"m0": 100 * MIB})
    gpu = GpuSample(0, "Tesla T4", 14 * GIB, 15 * GIB, 37.0, 61.0)
    sample = Sample(0.0, (gpu,), 2 * GIB, 6 * GIB, 12 * GIB, 50 * GIB, 100 * GIB)
    manager = ModelManager(Families([family]), device, GpuConfig())
    return Lifecycle(manager, MemoryMonitor(probe=lambda: sample))


def test_a_person_reads_devices_models_and_alerts(lifecycle: Lifecycle) -> None:
    with lifecycle.manager.acquire("sim:m0"):
        text = report_text(lifecycle)
    assert "GPU 0  Tesla T4: 14.00 GB of 15.00 GB (93 %), 37 % busy, 61 °C" in text
    assert "RAM    6.00 GB of 12.00 GB, 2.00 GB by this process" in text
    assert any(
        line.split()[:5] == ["sim:m0", "cuda:0", "float32", "100.0", "MB"] and "in use" in line
        for line in text.splitlines()
    )
    assert "ALERT  gpu memory of cuda:0 is 93 %, the limit is 85 %." in text
    assert "1 loads, 0 hits" in text


def test_a_program_reads_the_same_as_json(lifecycle: Lifecycle) -> None:
    lifecycle.manager.load("sim:m0")
    facts = json.loads(report_json(lifecycle))
    assert facts["models"][0]["key"] == "sim:m0"
    assert facts["devices"][0]["models_bytes"] == 100 * MIB
    assert facts["sample"]["gpus"][0]["temperature"] == 61.0
    assert facts["statistics"]["loads"] == 1
    assert [event["what"] for event in facts["events"]] == ["load"]


def test_without_models_and_gpus_it_says_so(lifecycle: Lifecycle) -> None:
    lifecycle.monitor._probe = lambda: Sample(0.0)
    text = report_text(lifecycle)
    assert "none found" in text and "No models are loaded" in text


def test_a_broken_family_stands_in_the_report(lifecycle: Lifecycle) -> None:
    lifecycle.manager.families.problems.append("The model family 'x' failed: no")
    assert "PROBLEM  The model family 'x' failed: no" in report_text(lifecycle)
    assert report(lifecycle)["family_problems"]


def test_watching_repeats_the_report_with_pauses(lifecycle: Lifecycle) -> None:
    pauses: list[float] = []
    frames = list(itertools.islice(watch(lifecycle, 3.0, pauses.append), 3))
    assert len(frames) == 3 and pauses == [3.0, 3.0]
