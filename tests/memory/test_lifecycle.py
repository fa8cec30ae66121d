"""Tasks bring in what they need and send away what they do not; memory comes back by itself."""

from __future__ import annotations

import pytest
from simulated_memory import MIB, SimulatedDevice, SimulatedFamily

from rvc_colab.config import GpuConfig
from rvc_colab.errors import ConfigError
from rvc_colab.memory.families import Families
from rvc_colab.memory.lifecycle import Lifecycle, TaskProfile
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.monitor import MemoryMonitor
from rvc_colab.memory.probe import GpuSample, Sample


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def _family(name: str, device: SimulatedDevice) -> SimulatedFamily:
    family = SimulatedFamily(device, {f"{name}{i}": 100 * MIB for i in range(5)})
    family.name = name
    return family


@pytest.fixture
def device() -> SimulatedDevice:
    return SimulatedDevice(400 * MIB)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lifecycle(device: SimulatedDevice, clock: Clock) -> Lifecycle:
    names = ("voice", "encoder", "f0", "index", "separator")
    families = Families([_family(name, device) for name in names])
    config = GpuConfig(max_memory_usage_percent=100)

    def probe() -> Sample:
        room = device.room("cuda:0")
        gpu = GpuSample(0, "Test GPU", room.total - room.free, room.total)
        return Sample(clock(), (gpu,))

    manager = ModelManager(families, device, config, clock, wait_seconds=0.05)
    return Lifecycle(manager, MemoryMonitor(config, probe))


def _loaded(lifecycle: Lifecycle) -> list[str]:
    return sorted(model.key.partition(":")[2] for model in lifecycle.manager.loaded())


def test_a_task_brings_its_models_in_by_priority(lifecycle) -> None:
    start = lifecycle.preload_for_task("convert", ["f0:f00", "voice:voice0", "encoder:encoder0"])
    assert start.loaded == ["voice:voice0", "encoder:encoder0", "f0:f00"]


def test_what_a_task_does_not_need_goes_first(lifecycle) -> None:
    for key in ("separator:separator0", "voice:voice0", "encoder:encoder0"):
        lifecycle.manager.load(key)
    lifecycle.manager.load("separator:separator1")
    start = lifecycle.preload_for_task("convert", ["f0:f00"])
    assert start.evicted == ["separator:separator0"]
    lifecycle.preload_for_task("convert", ["index:index0"])
    assert _loaded(lifecycle) == ["encoder0", "f00", "index0", "voice0"]


def test_training_sends_voices_away_and_limits_the_rest(lifecycle) -> None:
    lifecycle.manager.load("voice:voice0")
    start = lifecycle.preload_for_task("train", ["encoder:encoder0", "f0:f00"])
    assert start.evicted[0] == "voice:voice0 on cuda:0"
    assert start.loaded == ["encoder:encoder0"]
    assert "f0:f00" in start.left_out
    assert lifecycle.manager.capacity("cuda:0") == int(400 * MIB * 0.33)
    lifecycle.cleanup_for_task("train")
    assert lifecycle.manager.capacity("cuda:0") == 400 * MIB


def test_models_of_a_running_task_are_kept(lifecycle) -> None:
    lifecycle.preload_for_task("convert", ["voice:voice0"])
    for i in range(5):
        lifecycle.manager.load(f"separator:separator{i}")
    assert "voice0" in _loaded(lifecycle)


def test_the_end_of_a_task_gives_its_memory_back(lifecycle, device) -> None:
    lifecycle.preload_for_task("cover", ["separator:separator0", "voice:voice0"])
    assert len(lifecycle.cleanup_for_task("cover")) == 2
    assert device.held["cuda:0"] == 0 and lifecycle.tasks == []


def test_what_another_task_needs_stays(lifecycle) -> None:
    lifecycle.preload_for_task("cover", ["separator:separator0", "voice:voice0"])
    lifecycle.preload_for_task("convert", ["voice:voice0"])
    lifecycle.cleanup_for_task("cover")
    assert _loaded(lifecycle) == ["voice0"]


def test_a_task_that_runs_twice_ends_with_the_second(lifecycle) -> None:
    lifecycle.preload_for_task("convert", ["voice:voice0"])
    lifecycle.preload_for_task("convert", ["voice:voice0"])
    assert lifecycle.cleanup_for_task("convert") == []
    assert len(lifecycle.cleanup_for_task("convert")) == 1


def test_a_model_that_fails_ahead_does_not_end_the_task(lifecycle, caplog) -> None:
    lifecycle.manager.families.get("voice").sizes["voice0"] = 900 * MIB
    start = lifecycle.preload_for_task("convert", ["voice:voice0", "f0:f00"])
    assert start.loaded == ["f0:f00"]
    assert "voice:voice0 is not loaded ahead for convert" in caplog.text
    assert "voice:voice0 needs 0.88 GB" in start.left_out["voice:voice0"]


def test_an_unknown_task_is_refused_with_the_known_ones(lifecycle) -> None:
    with pytest.raises(ConfigError, match="convert, train, cover, speak"):
        lifecycle.preload_for_task("dance")


def test_a_task_of_ones_own(lifecycle) -> None:
    lifecycle.add_profile(TaskProfile("duet", {"voice": 1}))
    assert lifecycle.preload_for_task("duet", ["voice:voice0"]).loaded == ["voice:voice0"]


def _tend(lifecycle: Lifecycle) -> list[str]:
    return lifecycle.tend(lifecycle.monitor.sample_now())


def test_above_the_threshold_idle_models_go_until_there_is_room(lifecycle) -> None:
    for i in range(4):
        lifecycle.manager.load(f"voice:voice{i}")
    assert _tend(lifecycle) == ["voice:voice0 on cuda:0"]
    assert _tend(lifecycle) == []


def test_models_in_use_stay_above_the_threshold_too(lifecycle) -> None:
    names = [f"voice:voice{i}" for i in range(4)]
    with lifecycle.manager.acquire_all(names):
        assert _tend(lifecycle) == []


def test_a_model_nobody_used_for_long_goes(lifecycle, clock) -> None:
    lifecycle.manager.load("voice:voice0")
    clock.now += 60 * 20
    lifecycle.manager.load("voice:voice1")
    clock.now += 60 * 15
    assert _tend(lifecycle) == ["voice:voice0 on cuda:0"]


def test_automatic_cleaning_can_be_switched_off_and_on_while_running(lifecycle) -> None:
    for i in range(4):
        lifecycle.manager.load(f"voice:voice{i}")
    lifecycle.configure(GpuConfig(auto_cleanup_enabled=False))
    assert _tend(lifecycle) == []
    lifecycle.configure(GpuConfig(cleanup_threshold_percent=60))
    assert len(_tend(lifecycle)) == 2


def test_automatic_management_runs_by_itself_and_stops(lifecycle) -> None:
    assert not lifecycle.automatic
    for i in range(4):
        lifecycle.manager.load(f"voice:voice{i}")
    lifecycle.start_automatic()
    assert lifecycle.automatic and lifecycle.monitor.running
    lifecycle.stop_automatic()
    assert not lifecycle.automatic and not lifecycle.monitor.running


def test_a_sample_of_the_monitor_is_enough_to_clean(lifecycle) -> None:
    lifecycle.configure(GpuConfig(memory_monitoring_enabled=False))
    for i in range(4):
        lifecycle.manager.load(f"voice:voice{i}")
    assert lifecycle.start_automatic() is False
    lifecycle.monitor.sample_now()
    assert len(_loaded(lifecycle)) == 3


def test_monitoring_switched_on_while_running_starts(lifecycle) -> None:
    lifecycle.configure(GpuConfig(memory_monitoring_enabled=False))
    lifecycle.start_automatic()
    lifecycle.configure(GpuConfig())
    assert lifecycle.monitor.running
    lifecycle.stop_automatic()


def test_a_model_that_is_not_known_is_left_out_with_its_reason(lifecycle) -> None:
    start = lifecycle.preload_for_task("convert", ["opera:m0", "voice:voice0"])
    assert start.loaded == ["voice:voice0"]
    assert start.left_out == {"opera:m0": "There is no model family 'opera'."}
