"""Settings of torch's allocator, for front doors to apply before torch starts the GPU."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping

VARIABLE = "PYTORCH_CUDA_ALLOC_CONF"
NEW_VARIABLE = "PYTORCH_ALLOC_CONF"  # its name from torch 2.9 on; the old one is still read
SETTING = "expandable_segments"


def apply_allocator_settings(env: MutableMapping[str, str]) -> str:
    """Let segments grow, so that models of changing sizes do not leave holes; say what was done.

    `env` is the environment of the process (os.environ). What a person has set stays. Only a
    front door calls this, before torch is loaded; nothing does so on import.
    """
    if sys.platform == "win32":
        return "Allocator settings are left alone: Windows has no expandable segments."
    name = NEW_VARIABLE if NEW_VARIABLE in env else VARIABLE
    settings = [part for part in env.get(name, "").split(",") if part.strip()]
    if any(part.strip().startswith(SETTING) for part in settings):
        return f"{name}={env[name]} was set already."
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "Allocator settings come too late: torch has started the GPU already."
    if any("backend:cudaMallocAsync" in part for part in settings):
        return f"{name}={env[name]} was set already; its allocator has no segments."
    env[name] = ",".join([*settings, f"{SETTING}:True"])
    return f"{name}={env[name]}"
