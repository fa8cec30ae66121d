"""Convert with the models that the process shares, more modestly each time memory runs out.

Caches are emptied, idle models unloaded, chunks made smaller, precision halved, the CPU taken: each
step is logged and stands in the result's warnings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch

from rvc_colab.config import ConversionConfig, Precision
from rvc_colab.conversion.converter import Converter, borrow_converter, has_room
from rvc_colab.conversion.results import ConversionResult, FolderResult
from rvc_colab.conversion.run import convert_each, convert_file
from rvc_colab.device import DeviceChoice, choose_device
from rvc_colab.memory.devices import Devices
from rvc_colab.memory.families import ModelKey
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.process import default_manager
from rvc_colab.memory.recovery import Effort, ladder, tell_steps, with_recovery
from rvc_colab.progress import Progress
from rvc_colab.workspace import Workspace

SHORTEST_CHUNK = 2.0  # s, the least that the setting allows
Result = TypeVar("Result")


@dataclass
class SharedConversion:
    """One person's conversions with one voice; arguments as `borrow_converter`.

    `effort` and `given_up` remember what memory left: the files of a folder do not run out of it
    one by one, and each result says how it was made.
    """

    voice: str | Path
    index: str | Path | None = None
    config: ConversionConfig = ConversionConfig()
    workspace: Workspace | None = None
    manager: ModelManager | None = None
    effort: Effort = field(default=Effort(), init=False)
    given_up: tuple[str, ...] = field(default=(), init=False)

    def file(
        self, source: str | Path, target: str | Path, progress: Progress | None = None
    ) -> ConversionResult:
        """Convert a sound file as `run.convert_file` does. Raises what it raises.

        MemoryBudgetError when memory runs out whatever is given up.
        """

        def convert(converter: Converter, config: ConversionConfig) -> ConversionResult:
            return convert_file(source, target, converter, config, progress)

        return self._give_way(convert)

    def folder(
        self,
        source: str | Path,
        target: str | Path,
        progress: Progress | None = None,
        format: str = "wav",
    ) -> FolderResult:
        """Convert every sound file under a folder as `run.convert_folder` does."""
        self.check()
        return convert_each(source, target, self.file, progress, format)

    def check(self) -> None:
        """Load the models ahead: a voice that cannot be used is one error, not one per file."""
        self._give_way(lambda converter, config: None)

    def has_room(self) -> bool:
        """Tell whether the models could be lent now, without waiting for other work."""
        manager, place = self.manager or default_manager(), self.workspace or Workspace.locate()
        return has_room(self.voice, self.index, self.config, place, manager)

    def _give_way(self, use: Callable[[Converter, ConversionConfig], Result]) -> Result:
        """Lend the models and use them, again with less while memory runs out."""
        manager = self.manager or default_manager()
        giver = _Giver(manager)

        def attempt(effort: Effort) -> Result:
            config = modestly(self.config, effort)
            lending = borrow_converter(self.voice, self.index, config, self.workspace, manager)
            with lending as converter:
                giver.needed = converter.keys
                return use(converter, config)

        choice = choose_device(self.config.device, self.config.precision)
        rungs = ladder(choice.device.type, half_precision=choice.dtype is not torch.float32)
        outcome = with_recovery(attempt, giver, rungs=rungs, effort=self.effort)
        self.effort = outcome.effort
        self.given_up += outcome.steps
        tell_steps(replace(outcome, steps=self.given_up))
        return outcome.value


@dataclass
class _Giver:
    """A manager that keeps what the next attempt uses, while it gives the rest away."""

    manager: ModelManager
    needed: frozenset[ModelKey] = frozenset()

    @property
    def devices(self) -> Devices:
        """Return the devices whose caches are emptied."""
        return self.manager.devices

    def evict_idle(self) -> list[str]:
        """Evict idle models that the next attempt does not use; return their names."""
        return self.manager.evict_idle(choose=lambda key: key not in self.needed)


def modestly(config: ConversionConfig, effort: Effort) -> ConversionConfig:
    """Turn an effort into settings."""
    changes: dict[str, object] = {}
    if effort.chunk_scale < 1:
        changes["chunk_seconds"] = max(SHORTEST_CHUNK, config.chunk_seconds * effort.chunk_scale)
    if effort.device is not None:
        changes |= {"device": effort.device, "precision": Precision.FP32}
    elif effort.half_precision:
        changes["precision"] = _half(choose_device(config.device))
    return config.model_copy(update=changes)


def _half(natural: DeviceChoice) -> Precision:
    known = natural.dtype is torch.bfloat16 or natural.device.type == "cpu"
    return Precision.BF16 if known else Precision.FP16
