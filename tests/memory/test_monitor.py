"""The monitor: bounded history, hysteresis, callbacks that cannot break it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rvc_colab.config import GpuConfig
from rvc_colab.memory.monitor import Alert, MemoryMonitor, Threshold
from rvc_colab.memory.probe import GpuSample, MachineProbe, Sample

PATIENCE = 20.0  # seconds until a thread that never answers fails the test


class FakeMachine:
    """A machine with one GPU whose memory use in percent the test sets."""

    def __init__(self) -> None:
        self.now, self.percent, self.heat = 0.0, 10.0, 40.0
        self.samples = 0

    def __call__(self) -> Sample:
        self.samples += 1
        gpu = GpuSample(0, "Test GPU", int(self.percent * 10), 1000, 50.0, self.heat)
        return Sample(self.now, (gpu,), 1, 10, 100, 90, 100)


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def monitor(machine: FakeMachine) -> MemoryMonitor:
    return MemoryMonitor(GpuConfig(memory_monitoring_interval=0.05), machine)


def _run(monitor: MemoryMonitor, machine: FakeMachine, *percents: float) -> list[bool]:
    seen: list[bool] = []
    end = monitor.on_alert(lambda alert: seen.append(alert.raised))
    for percent in percents:
        machine.percent = percent
        machine.now += 1
        monitor.sample_now()
    end()
    return seen


def test_an_alert_is_raised_once_at_the_threshold(monitor, machine) -> None:
    assert _run(monitor, machine, 84, 85, 90, 99) == [True]


def test_an_alert_clears_only_below_the_hysteresis(monitor, machine) -> None:
    assert _run(monitor, machine, 90, 84, 81, 86, 81) == [True]
    assert _run(monitor, machine, 80) == [False]


def test_a_value_that_trembles_at_the_threshold_does_not_flood(monitor, machine) -> None:
    assert _run(monitor, machine, *[84.9, 85.1] * 50) == [True]


def test_an_alert_says_the_value_and_the_limit(monitor, machine) -> None:
    _run(monitor, machine, 92)
    assert [alert.message for alert in monitor.raised] == [
        "gpu memory of cuda:0 is 92 %, the limit is 85 %."
    ]


def test_heat_is_watched(monitor, machine) -> None:
    machine.heat = 91.0
    assert _run(monitor, machine, 10) == [True]


def test_a_threshold_of_ones_own(monitor, machine) -> None:
    monitor.watch(Threshold("gpu_memory", 50, 40))
    assert _run(monitor, machine, 60, 45, 40) == [True, False]


def test_an_unknown_metric_is_refused(monitor) -> None:
    with pytest.raises(ValueError, match="gpu_memory"):
        monitor.watch(Threshold("fans", 50, 40))


def test_a_failing_callback_breaks_neither_the_monitor_nor_its_neighbours(monitor, machine) -> None:
    def fail(alert: Alert) -> None:
        raise RuntimeError("broken callback")

    monitor.on_alert(fail)
    assert _run(monitor, machine, 90, 70) == [True, False]


def test_history_returns_the_last_minutes_only(monitor, machine) -> None:
    for _ in range(30):
        machine.now += 60
        monitor.sample_now()
    assert len(monitor.history(minutes=10)) == 11
    assert monitor.history(minutes=10)[-1].seconds == machine.now


def test_history_is_bounded(monitor, machine) -> None:
    for _ in range(100):
        machine.now += 120
        monitor.sample_now()
    assert len(monitor.history()) == len(monitor._samples) == 31


def test_a_threshold_changed_at_run_time_takes_effect(monitor, machine) -> None:
    assert _run(monitor, machine, 60) == []
    monitor.configure(GpuConfig(cleanup_threshold_percent=50))
    assert _run(monitor, machine, 60) == [True]
    monitor.configure(GpuConfig(cleanup_threshold_percent=85))
    assert _run(monitor, machine, 60) == [False]


def _wait(ready: Callable[[], bool]) -> bool:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if ready():
            return True
        pause.wait(0.01)
    return False


def test_the_thread_samples_by_itself_and_stops(monitor, machine) -> None:
    assert monitor.start() and monitor.start()
    assert _wait(lambda: machine.samples >= 3)
    monitor.stop()
    count = machine.samples
    assert not _wait_briefly(lambda: machine.samples > count)
    assert not monitor._threads


def _wait_briefly(ready: Callable[[], bool]) -> bool:
    threading.Event().wait(0.2)
    return ready()


def test_a_hanging_callback_does_not_stop_the_sampling(monitor, machine) -> None:
    release, entered = threading.Event(), threading.Event()

    def hang(sample: Sample) -> None:
        entered.set()
        release.wait(PATIENCE)

    monitor.on_sample(hang)
    monitor.start()
    assert entered.wait(PATIENCE)
    count = machine.samples
    assert _wait(lambda: machine.samples >= count + 3)
    release.set()
    monitor.stop()


def test_a_failing_probe_does_not_end_the_watch() -> None:
    calls = []

    def probe() -> Sample:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("driver hiccup")
        return Sample(float(len(calls)))

    monitor = MemoryMonitor(GpuConfig(memory_monitoring_interval=0.05), probe)
    monitor.start()
    assert _wait(lambda: monitor.latest is not None)
    monitor.stop()


def test_switched_off_it_does_not_start(machine) -> None:
    monitor = MemoryMonitor(GpuConfig(memory_monitoring_enabled=False), machine)
    assert monitor.start() is False
    assert machine.samples == 0


def test_switching_it_off_at_run_time_stops_it(monitor) -> None:
    monitor.start()
    monitor.configure(GpuConfig(memory_monitoring_enabled=False))
    assert not monitor.running


def test_the_real_machine_is_read_without_a_gpu(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    sample = MachineProbe(tmp_path / "not" / "made" / "yet")()
    assert sample.gpus == ()
    assert 0 < sample.process_bytes <= sample.ram_used_bytes <= sample.ram_total_bytes
    assert 0 < sample.disk_free_bytes <= sample.disk_total_bytes
