"""The one manager, monitor and lifecycle of this process, made when first asked for."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from rvc_colab.config import ConversionConfig, GpuConfig
from rvc_colab.memory.families import Families
from rvc_colab.memory.lifecycle import Lifecycle
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.monitor import MemoryMonitor
from rvc_colab.memory.noticeboard import Noticeboard
from rvc_colab.memory.probe import MachineProbe
from rvc_colab.settings import load
from rvc_colab.workspace import Workspace, machine_folder

_lock = threading.Lock()


@dataclass
class _Process:
    lifecycle: Lifecycle | None = None


_process = _Process()


def default_lifecycle() -> Lifecycle:
    """Return the lifecycle of this process; its settings come from the config file and RVC_*.

    Automatic management is off until a front door calls its `start_automatic`.
    """
    with _lock:
        if _process.lifecycle is None:
            _process.lifecycle = make_lifecycle()
        return _process.lifecycle


def default_manager() -> ModelManager:
    """Return the manager of this process, with our families and those of installed packages."""
    return default_lifecycle().manager


def default_monitor() -> MemoryMonitor:
    """Return the monitor of this process, not started."""
    return default_lifecycle().monitor


def reload_settings(file: str | os.PathLike[str] | None = None) -> GpuConfig:
    """Read the `gpu:` section and RVC_* again and let them take effect; return the settings.

    `file` defaults to the variable RVC_CONFIG.
    """
    config = load(GpuConfig, file=file)
    default_lifecycle().configure(config, load(ConversionConfig, file=file).device)
    return config


def forget_process() -> None:
    """Unload everything and forget the lifecycle of this process; the next call makes a new one."""
    with _lock:
        lifecycle, _process.lifecycle = _process.lifecycle, None
    if lifecycle is not None:
        lifecycle.stop_automatic()
        lifecycle.manager.unload_all(pinned=True)


def make_lifecycle(workspace: Workspace | None = None) -> Lifecycle:
    """Make a lifecycle with our families and those of installed packages.

    Voices and weights are looked for in `workspace`; without one, in that which RVC_WORKSPACE names
    at the time.
    """
    from rvc_colab.memory.built_in import built_in_families

    config = load(GpuConfig)
    families = Families(built_in_families(lambda: workspace or Workspace.locate()))
    families.install_entry_points()
    manager = ModelManager(families, config=config)
    manager.configure(config, load(ConversionConfig).device)
    root = (workspace or Workspace.locate()).root
    board = Noticeboard(machine_folder())
    return Lifecycle(manager, MemoryMonitor(config, MachineProbe(root)), board)
