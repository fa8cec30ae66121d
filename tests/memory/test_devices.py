"""The devices of this machine."""

from __future__ import annotations

import pytest
import torch

from rvc_colab.memory.devices import MachineDevices


def test_the_cpu_is_always_there_and_last(monkeypatch) -> None:
    monkeypatch.setattr("rvc_colab.device.cuda_count", lambda: 2)
    assert MachineDevices().names() == ["cuda:0", "cuda:1", "cpu"]


def test_the_room_of_the_cpu_is_the_ram() -> None:
    room = MachineDevices().room("cpu")
    assert 0 < room.free <= room.total


def test_memory_cached_by_torch_counts_as_room(monkeypatch) -> None:
    monkeypatch.setattr("rvc_colab.device.cuda_memory", lambda index: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 200)
    assert MachineDevices().room("cuda:0").free == 400


def test_the_cpu_cannot_tell_its_peak() -> None:
    assert MachineDevices().start_peak("cpu") is None


@pytest.mark.gpu
def test_a_gpu_tells_its_peak() -> None:
    devices = MachineDevices()
    base = devices.start_peak("cuda:0")
    block = torch.zeros(1 << 20, device="cuda:0")
    del block
    assert devices.peak("cuda:0") - base >= 4 << 20
    devices.empty_caches()
    room = devices.room("cuda:0")
    assert 0 < room.free <= room.total
