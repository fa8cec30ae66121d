"""What a run is made of while it runs, turned into a snapshot and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvc_colab.errors import TrainingError
from rvc_colab.training.snapshots import Snapshot
from rvc_colab.training.step import Player


@dataclass
class Position:
    """Where a run stands: steps done, and the batches done of the current epoch (from 0)."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0  # of training, over all sittings
    best_step: int | None = None
    best_score: float | None = None  # smoothed, of the held-out recordings; lower is better
    best_epoch: int | None = None
    smoothed_score: float | None = None
    worse: int = 0  # measurements since the best one
    measured_step: int | None = None
    batch_size: int | None = None  # slices of a step, all passes and processes together


@dataclass
class RunState:
    """The two players and the position; `facts` are what the run must agree on to go on."""

    players: dict[str, Player]
    position: Position
    facts: dict[str, Any] = field(default_factory=dict)
    scaler: Any = None

    def snapshot(self) -> Snapshot:
        """Copy everything to the CPU: the copy does not change while training goes on."""
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, player in self.players.items():
            tensors[name] = _copied(player.network.state_dict())
            tensors[f"{name}_optimizer"] = _copied(_flat(player.optimizer))
        tensors["random"] = random_states()
        state = {"position": asdict(self.position), "step": self.position.step, "facts": self.facts}
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return Snapshot(tensors, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot. Raises TrainingError when it is of networks of other sizes."""
        check_facts(snapshot.state.get("facts", {}), self.facts)
        for name, player in self.players.items():
            player.network.load_state_dict(snapshot.tensors[name])
            _load_flat(player.optimizer, snapshot.tensors[f"{name}_optimizer"])
        self.position = Position(**snapshot.state["position"])
        set_random_states(snapshot.tensors["random"])
        if self.scaler is not None and "scaler" in snapshot.state:
            self.scaler.load_state_dict(snapshot.state["scaler"])


def check_facts(recorded: dict[str, Any], current: dict[str, Any]) -> None:
    """Raise TrainingError unless a run may go on under the current settings."""
    for name, value in current.items():
        if name in recorded and recorded[name] != value:
            raise TrainingError(
                f"The run was begun with {name} = {recorded[name]}, now it is {value}.",
                "Use the old setting, another name, or --restart to put the old run aside.",
            )


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name an optimizer's tensors `number of the parameter.name`."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _load_flat(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for flat_name, tensor in tensors.items():
        number, name = flat_name.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]  # the settings of today, not of the snapshot
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's and numpy's random generators of this process."""
    kind, keys, place, *_ = np.random.get_state(legacy=True)
    states = {"torch": torch.get_rng_state()}
    states["numpy"] = torch.from_numpy(np.append(np.asarray(keys, dtype=np.int64), int(place)))
    if torch.cuda.is_initialized():
        states["device"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict[str, Tensor]) -> None:
    """Put the random generators back."""
    torch.set_rng_state(states["torch"])
    numbers = states["numpy"].numpy()
    np.random.set_state(("MT19937", numbers[:-1].astype(np.uint32), int(numbers[-1]), 0, 0.0))
    if "device" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["device"])
