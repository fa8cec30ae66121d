"""One look at the memory of GPUs, process, system and disk; without a GPU or NVML too."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvc_colab import device, hardware
from rvc_colab.profiling import process_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuSample:
    """One GPU at one moment. Bytes; utilisation in percent and temperature in °C where known."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int
    utilisation: float | None = None
    temperature: float | None = None

    @property
    def percent(self) -> float:
        """Return the share of the memory in use, 0..100."""
        return 100.0 * self.used_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True)
class Sample:
    """The machine at one moment; `seconds` is the monitor's clock, sizes are bytes."""

    seconds: float
    gpus: tuple[GpuSample, ...] = ()
    process_bytes: int = 0
    ram_used_bytes: int = 0
    ram_total_bytes: int = 0
    disk_free_bytes: int = 0
    disk_total_bytes: int = 0

    @property
    def ram_percent(self) -> float:
        """Return the share of the system's RAM in use, 0..100."""
        return 100.0 * self.ram_used_bytes / self.ram_total_bytes if self.ram_total_bytes else 0.0

    @property
    def disk_percent(self) -> float:
        """Return the share of the disk in use, 0..100."""
        if not self.disk_total_bytes:
            return 0.0
        return 100.0 * (1 - self.disk_free_bytes / self.disk_total_bytes)


class MachineProbe:
    """Read samples of this machine; `folder` says whose disk is meant.

    GPUs are read through NVML (nvidia-ml-py), else through torch when that is loaded already.
    """

    def __init__(
        self, folder: str | os.PathLike[str] = ".", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = Path(folder)
        self._clock = clock
        self._nvml: Any = _open_nvml()

    def __call__(self) -> Sample:
        """Take one sample. Never raises: what cannot be read is 0 or missing."""
        total, free = hardware.ram()
        disk_total, disk_free = _disk(self._folder)
        return Sample(
            seconds=self._clock(),
            gpus=self._gpus(),
            process_bytes=process_bytes(),
            ram_used_bytes=max(0, total - free),
            ram_total_bytes=total,
            disk_free_bytes=disk_free,
            disk_total_bytes=disk_total,
        )

    def _gpus(self) -> tuple[GpuSample, ...]:
        if self._nvml is not None:
            try:
                return _nvml_gpus(self._nvml)
            except self._nvml.NVMLError as error:
                _log.warning("NVML stopped answering (%s); GPU memory is read from torch.", error)
                self._nvml = None
        return _torch_gpus()


def _open_nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _log.debug("NVML is not available: %s", error)
        return None
    return pynvml


def _nvml_gpus(nvml: Any) -> tuple[GpuSample, ...]:
    samples = []
    sensor = nvml.NVML_TEMPERATURE_GPU
    for index, handle in enumerate(_visible_handles(nvml)):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = nvml.nvmlDeviceGetName(handle)
        load = _optional(nvml, lambda h: nvml.nvmlDeviceGetUtilizationRates(h).gpu, handle)
        heat = _optional(nvml, lambda h: nvml.nvmlDeviceGetTemperature(h, sensor), handle)
        text = name.decode() if isinstance(name, bytes) else str(name)
        samples.append(GpuSample(index, text, int(memory.used), int(memory.total), load, heat))
    return tuple(samples)


def _visible_handles(nvml: Any) -> list[Any]:
    """Return NVML handles in torch's order: NVML ignores CUDA_VISIBLE_DEVICES, torch obeys it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = nvml.nvmlDeviceGetCount()
    if visible is None:
        return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
    handles = []
    for item in (part.strip() for part in visible.split(",")):
        if item.startswith(("GPU-", "MIG-")):
            handles.append(nvml.nvmlDeviceGetHandleByUUID(item))
        elif item.isdigit() and int(item) < count:
            handles.append(nvml.nvmlDeviceGetHandleByIndex(int(item)))
        else:
            break  # CUDA reads the list up to the first entry it does not know
    return handles


def _optional(nvml: Any, read: Callable[[Any], float], handle: Any) -> float | None:
    try:
        return float(read(handle))
    except nvml.NVMLError:
        return None  # some cards and virtual machines do not tell


def _torch_gpus() -> tuple[GpuSample, ...]:
    if "torch" not in sys.modules:
        return ()
    try:
        samples = []
        for index in range(device.cuda_count()):
            free, total = device.cuda_memory(index)
            samples.append(GpuSample(index, device.cuda_name(index), total - free, total))
        return tuple(samples)
    except (RuntimeError, AssertionError) as error:
        _log.debug("torch does not tell about its GPUs: %s", error)
        return ()


def _disk(folder: Path) -> tuple[int, int]:
    """Return (total, free) bytes of the disk that holds `folder` or its nearest existing parent."""
    import shutil

    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        return usage.total, usage.free
    return 0, 0
