"""What is loaded, what it costs, and what gives way: models shared within the device's memory.

    from rvc_colab.memory import default_manager

    with default_manager().acquire("voice:demo") as lease:
        lease.model.network.infer(...)

Importing this loads no torch and starts nothing.
"""

from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.allocator import apply_allocator_settings
from rvc_colab.memory.exhaustion import is_out_of_memory
from rvc_colab.memory.families import Estimate, Families, Family, ModelFamily, ModelKey, Placement
from rvc_colab.memory.lease import Lease
from rvc_colab.memory.lifecycle import PROFILES, Lifecycle, TaskProfile, TaskStart
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.monitor import Alert, MemoryMonitor, Threshold
from rvc_colab.memory.process import (
    default_lifecycle,
    default_manager,
    default_monitor,
    forget_process,
    reload_settings,
)
from rvc_colab.memory.recovery import (
    Effort,
    Recovered,
    RecoveryActions,
    memory_context,
    memory_optimized,
    register_action,
    with_recovery,
)
from rvc_colab.memory.reports import report, report_json, report_text, watch

__all__ = [
    "PROFILES",
    "Alert",
    "Effort",
    "Estimate",
    "Families",
    "Family",
    "Lease",
    "Lifecycle",
    "MemoryBudgetError",
    "MemoryMonitor",
    "ModelFamily",
    "ModelKey",
    "ModelManager",
    "Placement",
    "Recovered",
    "RecoveryActions",
    "TaskProfile",
    "TaskStart",
    "Threshold",
    "apply_allocator_settings",
    "default_lifecycle",
    "default_manager",
    "default_monitor",
    "forget_process",
    "is_out_of_memory",
    "memory_context",
    "memory_optimized",
    "register_action",
    "reload_settings",
    "report",
    "report_json",
    "report_text",
    "watch",
    "with_recovery",
]
