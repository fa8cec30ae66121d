"""Reading GPUs through NVML: torch's order, cards that keep secrets, drivers that stop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rvc_colab.memory import probe


class FakeNvml:
    """Three cards in the spelling of nvidia-ml-py; the second does not tell its temperature."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.broken = False

    def nvmlDeviceGetCount(self) -> int:
        if self.broken:
            raise self.NVMLError("driver lost")
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return {"GPU-c": 2}[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=handle + 1, total=10)

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"Card %d" % handle

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=handle * 10)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        if handle == 1:
            raise self.NVMLError("not supported")
        return 50 + handle


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setattr(probe, "_open_nvml", lambda: fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_every_card_is_read(nvml: FakeNvml, tmp_path) -> None:
    gpus = probe.MachineProbe(tmp_path)().gpus
    assert [(g.name, g.percent, g.utilisation) for g in gpus] == [
        ("Card 0", 10.0, 0.0),
        ("Card 1", 20.0, 10.0),
        ("Card 2", 30.0, 20.0),
    ]


def test_a_card_that_hides_its_temperature_is_read_without_it(nvml: FakeNvml, tmp_path) -> None:
    assert [g.temperature for g in probe.MachineProbe(tmp_path)().gpus] == [50.0, None, 52.0]


@pytest.mark.parametrize(
    ("visible", "names"),
    [("2,0", ["Card 2", "Card 0"]), ("GPU-c", ["Card 2"]), ("1,9,0", ["Card 1"]), ("", [])],
)
def test_the_order_is_torchs(nvml, tmp_path, monkeypatch, visible, names) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = probe.MachineProbe(tmp_path)().gpus
    assert [(g.index, g.name) for g in gpus] == list(enumerate(names))


def test_a_driver_that_stops_answering_is_no_error(nvml: FakeNvml, tmp_path) -> None:
    read = probe.MachineProbe(tmp_path)
    nvml.broken = True
    assert read().ram_total_bytes > 0
