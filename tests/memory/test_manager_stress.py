"""Eight threads, 2,000 acquires over 30 networks with room for 5, a device failing at random."""

from __future__ import annotations

import random
import threading
import time

import pytest
import torch
from simulated_memory import MIB, SimulatedDevice, SimulatedFamily, SimulatedModel

from rvc_colab.config import GpuConfig
from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.families import Families, ModelKey, Placement
from rvc_colab.memory.manager import ModelManager

THREADS, ACQUIRES, MODELS, ROOM_FOR = 8, 2000, 30, 5
SIZE = 100 * MIB
PATIENCE = 120.0  # seconds until threads that still run count as a deadlock


class SmallNetworks(SimulatedFamily):
    """Real networks on the simulated device; an evicted one is spoilt, so that its use shows."""

    def load(self, key: ModelKey, placement: Placement) -> SimulatedModel:
        model = super().load(key, placement)
        model.network = torch.nn.Linear(8, 8).requires_grad_(False)
        return model

    def unload(self, model: SimulatedModel) -> None:
        super().unload(model)
        model.network.weight.fill_(float("nan"))


class Crowd:
    """Threads that acquire at random and write down what they saw."""

    def __init__(self, failure_share: float, together: int, names: tuple[str, ...]) -> None:
        self.device = SimulatedDevice(ROOM_FOR * SIZE, names)
        sizes = {f"m{i}": SIZE - (i % 7) * MIB for i in range(MODELS)}
        self.family = SmallNetworks(self.device, sizes, working=0)
        self.family.random, self.family.failure_share = random.Random(7), failure_share
        config = GpuConfig(max_memory_usage_percent=100)
        families = Families([self.family])
        self.manager = ModelManager(families, self.device, config, wait_seconds=PATIENCE / 2)
        self.together = together
        self.served = self.refused = 0
        self.complaints: list[str] = []
        self._lock = threading.Lock()

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._visit, args=(n,), daemon=True) for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.complaints += ["a thread hangs" for thread in threads if thread.is_alive()]
        self.complaints += self.family.complaints

    def _visit(self, number: int) -> None:
        chance = random.Random(number)
        for _ in range(ACQUIRES // THREADS):
            names = [
                f"sim:m{i}" for i in chance.sample(range(MODELS), chance.randint(1, self.together))
            ]
            try:
                self._use(names, chance)
            except MemoryBudgetError as error:
                with self._lock:
                    self.refused += 1
                    if not any(name in error.message for name in names):
                        self.complaints.append(f"refused without a name: {error.message}")
            except BaseException as error:
                self.complaints.append(f"unexpected {error!r}")
                raise

    def _use(self, names: list[str], chance: random.Random) -> None:
        with self.manager.acquire_all(names) as leases:
            time.sleep(chance.random() * 5e-4)
            for name, lease in zip(names, leases, strict=True):
                heard = lease.model.network(torch.ones(8))
                if not (lease.model.alive and heard.isfinite().all()) or str(lease.key) != name:
                    self.complaints.append(f"{name} was used after eviction")
            for device in self.device.names():
                if self.manager.used(device) > self.manager.capacity(device):
                    self.complaints.append("the books exceed the capacity")
        with self._lock:
            self.served += 1


@pytest.mark.parametrize(
    ("failure_share", "together", "names"),
    [
        (0.0, 1, ("cuda:0",)),
        (0.05, 1, ("cuda:0",)),
        (0.05, 3, ("cuda:0",)),
        (0.0, 3, ("cuda:0", "cuda:1")),
    ],
)
def test_a_crowd_is_served_or_refused_by_name(failure_share, together, names) -> None:
    crowd = Crowd(failure_share, together, names)
    crowd.run()
    assert crowd.complaints == []
    assert crowd.served + crowd.refused == ACQUIRES
    assert crowd.served > 0.9 * ACQUIRES
    assert all(crowd.device.most[n] <= crowd.device.capacity[n] for n in names)
    statistics = crowd.manager.statistics
    assert statistics.evictions > MODELS and statistics.hits > 0
    assert (statistics.retries > 0) == (failure_share > 0)


def test_after_the_crowd_everything_can_be_given_back() -> None:
    crowd = Crowd(0.05, 2, ("cuda:0",))
    crowd.run()
    crowd.manager.unload_all()
    assert crowd.device.held == {"cuda:0": 0}
    assert crowd.manager.used("cuda:0") == 0
