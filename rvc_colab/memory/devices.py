"""The devices that hold models: their names, their room, and giving cached memory back."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from typing import Protocol

from rvc_colab import device, hardware

CPU = "cpu"


@dataclass(frozen=True)
class Room:
    """Bytes of one device: `free` for new models at this moment, of `total`."""

    free: int
    total: int


class Devices(Protocol):
    """What the manager asks of a machine; the tests bring a simulated one."""

    def names(self) -> list[str]:
        """List the devices as torch names them: GPUs first, `cpu` last."""

    def room(self, name: str) -> Room:
        """Return the room of one device, memory cached by this process counted as free."""

    def empty_caches(self) -> None:
        """Give memory that nothing uses back to the driver."""

    def start_peak(self, name: str) -> int | None:
        """Begin to measure the peak; return the bytes in use now, None where it cannot be done."""

    def peak(self, name: str) -> int | None:
        """Return the most bytes in use since `start_peak`."""


class MachineDevices:
    """The devices of this machine, through torch."""

    def names(self) -> list[str]:
        """List `cuda:0`…, or `mps`, and `cpu`."""
        gpus = [f"cuda:{index}" for index in range(device.cuda_count())]
        if not gpus and device.has_mps():
            gpus = ["mps"]
        return [*gpus, CPU]

    def room(self, name: str) -> Room:
        """Return free and total bytes; an Apple GPU shares the system's RAM."""
        if not name.startswith("cuda"):
            total, free = hardware.ram()
            return Room(free, total)
        import torch

        index = _index(name)
        free, total = device.cuda_memory(index)
        cached = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
        return Room(free + max(0, cached), total)

    def empty_caches(self) -> None:
        """Collect garbage, then empty torch's caches."""
        gc.collect()
        if "torch" in sys.modules:
            device.empty_cache()

    def start_peak(self, name: str) -> int | None:
        """Reset the peak counter of a CUDA device; others cannot tell."""
        if not name.startswith("cuda"):
            return None
        import torch

        torch.cuda.reset_peak_memory_stats(_index(name))
        return int(torch.cuda.memory_allocated(_index(name)))

    def peak(self, name: str) -> int | None:
        """Return the most bytes torch held on a CUDA device since `start_peak`."""
        if not name.startswith("cuda"):
            return None
        import torch

        return int(torch.cuda.max_memory_allocated(_index(name)))


def _index(name: str) -> int:
    return int(name.partition(":")[2] or 0)
