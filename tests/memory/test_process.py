"""One manager per process: made when asked for, set by file and environment, forgettable."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from rvc_colab.errors import VoiceError
from rvc_colab.memory import process
from rvc_colab.workspace import Workspace


@pytest.fixture(autouse=True)
def _fresh():
    process.forget_process()
    yield
    process.forget_process()


def test_everyone_gets_the_same_manager() -> None:
    with ThreadPoolExecutor(8) as pool:
        managers = list(pool.map(lambda _: process.default_manager(), range(16)))
    assert len(set(map(id, managers))) == 1


def test_our_families_are_there() -> None:
    names = process.default_manager().families.names()
    assert {"voice", "encoder", "f0", "index"} <= set(names)


def test_nothing_runs_until_a_front_door_starts_it() -> None:
    lifecycle = process.default_lifecycle()
    assert not lifecycle.automatic and not lifecycle.monitor.running


def test_settings_come_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("RVC_MAX_MEMORY_USAGE_PERCENT", "42")
    assert process.default_manager().config.max_memory_usage_percent == 42


def test_settings_changed_in_the_file_take_effect_without_a_restart(tmp_path, monkeypatch) -> None:
    file = tmp_path / "settings.yaml"
    monkeypatch.setenv("RVC_CONFIG", str(file))
    file.write_text("gpu:\n  cleanup_threshold_percent: 70\n")
    manager = process.default_manager()
    assert manager.config.cleanup_threshold_percent == 70
    file.write_text("gpu:\n  cleanup_threshold_percent: 60\n")
    process.reload_settings()
    assert process.default_manager() is manager
    assert manager.config.cleanup_threshold_percent == 60


def test_the_device_of_the_environment_is_where_models_go(monkeypatch) -> None:
    monkeypatch.setenv("RVC_DEVICE", "cpu")
    manager = process.default_manager()
    with manager.acquire("f0:pyin") as lease:
        assert lease.device == "cpu"
    assert manager._preferred == "cpu"


def test_a_file_can_be_named(tmp_path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("gpu:\n  idle_timeout_minutes: 7\nconversion:\n  device: cpu\n")
    assert process.reload_settings(file).idle_timeout_minutes == 7
    assert process.default_manager().config.idle_timeout_minutes == 7


def test_a_lifecycle_of_ones_own_looks_into_its_own_workspace(tmp_path) -> None:
    place = Workspace(tmp_path / "mine")
    manager = process.make_lifecycle(place).manager
    assert manager is not process.default_manager()
    with pytest.raises(VoiceError, match="mine"):
        manager.load("voice:anna")
