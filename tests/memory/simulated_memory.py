"""A simulated device and a family of models on it: capacity, failures at random, and a witness.

The device keeps its own books, apart from the manager's: what it saw is what the tests believe.
"""

from __future__ import annotations

import random
import threading

from rvc_colab.memory.devices import Room
from rvc_colab.memory.families import Estimate, Family, ModelKey, Placement

MIB = 1024**2


class SimulatedDevice:
    """Devices with a capacity in bytes; an allocation above it fails as CUDA's does."""

    def __init__(self, capacity: int, names: tuple[str, ...] = ("cuda:0",), cpu: int = 0) -> None:
        self.capacity = dict.fromkeys(names, capacity) | ({"cpu": cpu} if cpu else {})
        self.held = dict.fromkeys(self.capacity, 0)
        self.most = dict.fromkeys(self.capacity, 0)
        self.foreign = dict.fromkeys(self.capacity, 0)
        self.lock = threading.Lock()
        self.emptied = 0

    def names(self) -> list[str]:
        return list(self.capacity)

    def room(self, name: str) -> Room:
        with self.lock:
            total = self.capacity[name]
            return Room(total - self.held[name] - self.foreign[name], total)

    def empty_caches(self) -> None:
        self.emptied += 1

    def start_peak(self, name: str) -> int | None:
        with self.lock:
            self.most[name] = self.held[name]
            return self.held[name]

    def peak(self, name: str) -> int | None:
        return self.most[name]

    def allocate(self, name: str, size: int) -> None:
        with self.lock:
            if self.held[name] + self.foreign[name] + size > self.capacity[name]:
                raise RuntimeError("CUDA out of memory. Tried to allocate (simulated)")
            self.held[name] += size
            self.most[name] = max(self.most[name], self.held[name])

    def free(self, name: str, size: int) -> None:
        with self.lock:
            self.held[name] -= size


class SimulatedModel:
    """A model that knows whether it is alive."""

    def __init__(self, key: ModelKey, device: str, size: int) -> None:
        self.key, self.device, self.size, self.alive = key, device, size, True


class SimulatedFamily(Family):
    """Models `sim:NAME`, of `sizes[NAME]` bytes, `working` bytes in use."""

    name = "sim"

    def __init__(self, device: SimulatedDevice, sizes: dict[str, int], working: int = 0) -> None:
        self.device, self.sizes, self.working = device, sizes, working
        self.wrong_by = 1.0
        self.failures: list[BaseException] = []
        self.random: random.Random | None = None
        self.failure_share = 0.0
        self.lock = threading.Lock()
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.alive: dict[tuple[str, str], int] = {}
        self.complaints: list[str] = []
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def key(self, text: str) -> ModelKey:
        return ModelKey.parse(f"{self.name}:{text}")

    def files(self, key: ModelKey) -> list:
        return []

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        return Estimate(int(self.sizes[key.name] * self.wrong_by), self.working)

    def load(self, key: ModelKey, placement: Placement) -> SimulatedModel:
        self.entered.set()
        if self.gate is not None:
            self.gate.wait(20)
        with self.lock:
            if self.failures:
                raise self.failures.pop(0)
            if self.random is not None and self.random.random() < self.failure_share:
                raise RuntimeError("CUDA out of memory. Tried to allocate (simulated, at random)")
        size = self.sizes[key.name]
        self.device.allocate(placement.device, size)
        with self.lock:
            where = (key.name, placement.device)
            self.alive[where] = self.alive.get(where, 0) + 1
            if self.alive[where] > 1:
                self.complaints.append(f"{where} was loaded twice")
            self.loads.append(key.name)
        return SimulatedModel(key, placement.device, size)

    def unload(self, model: SimulatedModel) -> None:
        if not model.alive:
            self.complaints.append(f"{model.key} was unloaded twice")
        model.alive = False
        with self.lock:
            self.alive[model.key.name, model.device] -= 1
            self.unloads.append(model.key.name)
        self.device.free(model.device, model.size)

    def size(self, model: SimulatedModel) -> int:
        return model.size
