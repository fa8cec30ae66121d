"""Settings of torch's allocator, for front doors to apply before torch starts the GPU."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping

VARIABLE = "PYTORCH_CUDA_ALLOC_CONF"
NEW_VARIABLE = "PYTORCH_ALLOC_CONF"  # its name from torch 2.9 on; the old one is still read
SETTING = "expandable_segments"
PRIMITIVES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
# oneDNN keeps the prepared form of every convolution of the last 1024 lengths it met. Measured with
# 20 sounds of different lengths and a small voice: 1.7 GB; with 64 kept 0.3 GB, and no slower.
PRIMITIVES_KEPT = "64"


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


def limit_primitive_cache(env: MutableMapping[str, str]) -> str:
    """Let the CPU's prepared convolutions not pile up with every new length; say what was done.

    What a person has set stays. It is read when torch computes its first convolution.
    """
    if env.get(PRIMITIVES, "").strip():
        return f"{PRIMITIVES}={env[PRIMITIVES]} was set already."
    env[PRIMITIVES] = PRIMITIVES_KEPT
    return f"{PRIMITIVES}={PRIMITIVES_KEPT}"
