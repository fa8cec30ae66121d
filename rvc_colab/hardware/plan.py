"""The plan that follows from the machine's facts: values, each with its reason in words.

Precision follows from the compute capability, memory from the size; names are only shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from rvc_colab.device import BF16_CAPABILITY, FP16_CAPABILITY
from rvc_colab.errors import ConfigError
from rvc_colab.hardware.machine import GIB, Facts, Gpu, refusals

_Value = TypeVar("_Value")

# Training memory, full-size v2 model. Fixed: weights, gradients and two Adam moments, 16 B x 109 M.
FIXED_GB = 1.74
# Saved activations of one item in fp32 at the heaviest point (the generator's step): 48k counted as
# (1.49 + 1.27) GB / 4 items; the others scaled by their arithmetic (at 40k 0.82 and 0.75 of it).
ITEM_GB = {48000: 0.69, 40000: 0.54, 32000: 0.54, 16000: 0.34}
CHECKPOINTED = 0.65  # the share that stays when the generator's activations are computed again
CONTEXT_GB = 1.0  # CUDA context and convolution workspaces
CPU_FIXED_GB = 3.4  # measured: resident 4.0 GB at batch 1 and 5.6 GB at batch 4, 40k
USABLE = 0.9  # of the free memory: the allocator's fragments take the rest
MAX_BATCH = 64
CPU_MAX_BATCH = 8

PRECISIONS = ("fp32", "fp16", "bf16")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
# AMD architectures that multiply bf16 matrices in hardware (CDNA 2 and later, RDNA 3 and later).
_ROCM_BF16 = ("gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")


@dataclass(frozen=True)
class TrainingPlan:
    """How to train here; `reasons` gives one sentence for each value.

    `batch_size` counts items per process and step; `batch_size_by_memory` is what the memory model
    says would fit, beside the table's cautious figure. An item keeps `item_bytes` for its
    gradients, and `activation_bytes` are there for all of them.
    """

    device: str
    processes: int
    batch_size: int
    batch_size_by_memory: int
    precision: str
    accumulation: int
    checkpointing: bool
    tf32: bool
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)
    item_bytes: int = 0
    activation_bytes: int = 0

    def in_words(self) -> str:
        """Say the plan with its reasons, one line each."""
        return "\n".join(
            [
                f"Train on {self.device}, {self.processes} process(es). {self.reasons['device']}",
                f"Batch size {self.batch_size}. {self.reasons['batch_size']}",
                f"Precision {self.precision}. {self.reasons['precision']}",
                f"Gradient accumulation {self.accumulation}. {self.reasons['accumulation']}",
                f"Activation checkpointing {'on' if self.checkpointing else 'off'}. "
                f"{self.reasons['checkpointing']}",
            ]
        )


@dataclass(frozen=True)
class ConversionPlan:
    """How to convert here; `reasons` gives one sentence for each value."""

    device: str
    precision: str
    chunk_seconds: float
    tf32: bool
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)

    def in_words(self) -> str:
        """Say the plan with its reasons, one line each."""
        return "\n".join(
            [
                f"Convert on {self.device}. {self.reasons['device']}",
                f"Precision {self.precision}. {self.reasons['precision']}",
                f"Chunks of {self.chunk_seconds:g} s. {self.reasons['chunk_seconds']}",
            ]
        )


# ---------------------------------------------------------------------------------- the plans


def plan_training(
    facts: Facts,
    sample_rate: int = 40000,
    batch_size: int | str | None = None,
    precision: str | None = None,
    accumulation: int | None = None,
    checkpointing: bool | None = None,
) -> TrainingPlan:
    """Plan a training run for this machine and this voice rate (16000, 32000, 40000 or 48000 Hz).

    Arguments override the plan, and RVC_BATCH_SIZE, RVC_MIXED_PRECISION, RVC_GRAD_ACCUMULATION and
    RVC_ACTIVATION_CHECKPOINTING do so where an argument is None. The argument batch_size="memory"
    takes the memory model's figure. Raises ConfigError for a value out of range.
    """
    gpu, reasons = _chosen_gpu(facts)
    natural, why = _training_precision(facts, gpu)
    chosen, reasons["precision"] = _override(
        precision, "RVC_MIXED_PRECISION", natural, why, _precision
    )
    item_gb = _item_gb(sample_rate, chosen)
    fits, fits_checkpointed, room_gb = _fitting_batch(facts, gpu, item_gb)
    seed, seed_reason = _seed(gpu)
    tight = fits < seed
    short = f"Only {fits} of {seed} items fit otherwise; it costs about 8 % more work."
    why = short if tight else "Everything fits without it."
    ckpt, reasons["checkpointing"] = _override(
        checkpointing,
        "RVC_ACTIVATION_CHECKPOINTING",
        tight and fits_checkpointed > fits,
        why,
        _flag,
    )
    room = fits_checkpointed if ckpt else fits
    natural_batch = max(1, min(seed, room))
    why = f"{seed_reason} The memory model says up to {room} would fit."
    wanted = room if batch_size == "memory" else batch_size
    batch, reasons["batch_size"] = _override(wanted, "RVC_BATCH_SIZE", natural_batch, why, _count)
    steps = -(-seed // natural_batch) if batch == natural_batch else 1
    why = "One step already sees the whole batch."
    if steps > 1:
        why = f"{steps} steps of {batch} make up for the {seed} items that do not fit at once."
    steps, reasons["accumulation"] = _override(
        accumulation, "RVC_GRAD_ACCUMULATION", steps, why, _count
    )
    processes = _same_gpus(facts, gpu)
    if processes > 1:
        reasons["device"] += f" {processes} equal GPUs: one process with such a batch on each."
    return TrainingPlan(
        device=gpu.device if gpu else "cpu",
        processes=processes,
        batch_size=batch,
        batch_size_by_memory=room,
        precision=chosen,
        accumulation=steps,
        checkpointing=ckpt,
        tf32=_has_tf32(gpu),
        reasons=reasons,
        item_bytes=int(item_gb * GIB),
        activation_bytes=max(0, int(room_gb * GIB)),
    )


def plan_conversion(
    facts: Facts, precision: str | None = None, chunk_seconds: float | None = None
) -> ConversionPlan:
    """Plan conversion for this machine.

    Arguments override the plan, then RVC_PRECISION and RVC_CHUNK_SECONDS. Raises ConfigError for a
    value out of range.
    """
    gpu, reasons = _chosen_gpu(facts)
    natural, why = _gpu_precision(gpu) if gpu else _cpu_conversion_precision(facts)
    chosen, reasons["precision"] = _override(precision, "RVC_PRECISION", natural, why, _precision)
    memory = (gpu.total_bytes if gpu else facts.ram_bytes) / GIB
    # Attention costs grow with the square of the chunk, context at its edges is computed twice.
    natural_seconds = 18.0 if memory >= 6 or not memory else 10.0
    why = (
        f"{memory:.0f} GB of memory; longer chunks cost more attention, shorter ones more overlap."
    )
    seconds, reasons["chunk_seconds"] = _override(
        chunk_seconds, "RVC_CHUNK_SECONDS", natural_seconds, why, _seconds
    )
    return ConversionPlan(gpu.device if gpu else "cpu", chosen, seconds, _has_tf32(gpu), reasons)


def _chosen_gpu(facts: Facts) -> tuple[Gpu | None, dict[str, str]]:
    refused = " ".join(refusals(facts))
    usable = [gpu for gpu in facts.gpus if gpu.runs is not False]
    if usable:
        return usable[0], {"device": f"{usable[0].title}. {refused}".strip()}
    cores = f"{facts.cpu_cores} CPU cores and {facts.ram_bytes / GIB:.0f} GB of RAM."
    return None, {"device": f"{refused or 'No GPU was found.'} {cores}"}


def _same_gpus(facts: Facts, gpu: Gpu | None) -> int:
    if gpu is None or gpu.kind == "mps":
        return 1
    return sum(
        g.name == gpu.name and g.kind == gpu.kind and g.runs is not False for g in facts.gpus
    )


def _has_tf32(gpu: Gpu | None) -> bool:
    return bool(gpu and gpu.kind == "cuda" and gpu.capability and gpu.capability >= BF16_CAPABILITY)


def _gpu_precision(gpu: Gpu) -> tuple[str, str]:
    if gpu.kind == "mps":
        return "fp32", "On Apple GPUs 16-bit arithmetic is not reliably faster."
    if gpu.kind == "rocm":
        if gpu.architecture.startswith(_ROCM_BF16):
            return "bf16", f"{gpu.architecture} multiplies bf16 matrices in hardware."
        return (
            "fp32",
            f"{gpu.architecture or 'This AMD GPU'} is not known to compute bf16 in hardware.",
        )
    if gpu.capability is None:
        return "fp32", "The compute capability is unknown, and fp32 runs everywhere."
    number = f"{gpu.capability[0]}.{gpu.capability[1]}"
    if gpu.capability >= BF16_CAPABILITY:
        return "bf16", f"Compute capability {number} has bf16 and TF32 in hardware."
    if gpu.capability >= FP16_CAPABILITY and "GTX 16" not in gpu.name:
        return (
            "fp16",
            f"Compute capability {number} has fp16 tensor cores, and bf16 only in emulation.",
        )
    return "fp32", f"{gpu.name} (compute capability {number}) has no useful 16-bit arithmetic."


def _training_precision(facts: Facts, gpu: Gpu | None) -> tuple[str, str]:
    if gpu is not None:
        precision, why = _gpu_precision(gpu)
        return precision, why + (
            " Losses are scaled against underflow." if precision == "fp16" else ""
        )
    if found := facts.cpu_flags & {"amx_bf16", "avx512_bf16"}:
        return (
            "bf16",
            f"The CPU computes bf16 in hardware ({', '.join(sorted(found))}): about twice as fast.",
        )
    return "fp32", "The CPU has no bf16 arithmetic in hardware."


def _cpu_conversion_precision(facts: Facts) -> tuple[str, str]:
    if "amx_bf16" in facts.cpu_flags:
        return "fp32", "Exact; bf16 is about four times as fast here, with an error near -30 dB."
    return "fp32", "Exact; 16-bit arithmetic is not faster on this CPU."


def _seed(gpu: Gpu | None) -> tuple[int, str]:
    """Return the table's cautious batch size: by capability and memory, never by name."""
    if gpu is None or gpu.kind != "cuda" or gpu.capability is None:
        return 2, "The table has no row for this machine and starts small."
    gigabytes = gpu.total_bytes / GIB
    rows = (
        (BF16_CAPABILITY, 36, 8, "A100 and up"),
        (BF16_CAPABILITY, 20, 6, "L4 class, 24 GB"),
        (BF16_CAPABILITY, 14, 4, "recent card of 16 GB"),
        ((7, 5), 14, 4, "T4 class"),
        (FP16_CAPABILITY, 14, 6, "V100 class"),
        ((6, 0), 14, 4, "P100 class"),
    )
    for capability, least, batch, words in rows:
        if gpu.capability >= capability and gigabytes >= least:
            return batch, f"The table says {batch} ({words})."
    return 2, f"The table has no row for {gigabytes:.0f} GB on this GPU and starts small."


def _item_gb(sample_rate: int, precision: str) -> float:
    if sample_rate not in ITEM_GB:
        message = f"{sample_rate} Hz is no voice rate."
        raise ConfigError(message, f"Choose one of {sorted(ITEM_GB)}.")
    return ITEM_GB[sample_rate] * (1.0 if precision == "fp32" else 0.5)


def _fitting_batch(facts: Facts, gpu: Gpu | None, per_item: float) -> tuple[int, int, float]:
    """Count what fits by the memory model, plainly and with checkpointing; and the free GB."""
    if gpu is None:
        room = (facts.ram_free_bytes or facts.ram_bytes) / GIB * USABLE - CPU_FIXED_GB
        most = CPU_MAX_BATCH
    else:
        free = gpu.total_bytes if gpu.free_bytes is None else gpu.free_bytes
        # An Apple GPU shares its memory with everything else: take half.
        room = free / GIB * (0.5 if gpu.kind == "mps" else USABLE) - FIXED_GB - CONTEXT_GB
        most = MAX_BATCH
    plain, checkpointed = (
        max(1, min(most, int(room / cost))) for cost in (per_item, per_item * CHECKPOINTED)
    )
    return plain, checkpointed, room


# -------------------------------------------------------------------------------- overrides


def _override(
    asked: object, variable: str, natural: _Value, why: str, parse: Callable[[str], _Value]
) -> tuple[_Value, str]:
    """Return (value, reason): the argument, else RVC_… or URVC_…, else the plan's own value."""
    names = (variable, f"U{variable}")
    for given, source in ((asked, ""), *((os.environ.get(name), name) for name in names)):
        if given is None or str(given).strip() in {"", "auto"}:
            continue
        try:
            value = parse(str(given).strip())
        except ValueError as error:
            raise ConfigError(
                f"{source or 'The value'} is {given!r}: {error}.",
                "Leave it out for the plan's own choice.",
            ) from error
        start = f"Set by {source}" if source else "As asked"
        return value, f"{start}; the plan's own choice is {natural}: {why}"
    return natural, why


def _precision(value: str) -> str:
    text = {"no": "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(
        value, value
    )
    if text not in PRECISIONS:
        raise ValueError(f"choose one of {', '.join(PRECISIONS)}")
    return text


def _count(value: str) -> int:
    number = int(value) if value.isdigit() else 0
    if not 1 <= number <= 1024:
        raise ValueError("a whole number from 1 to 1024 is needed")
    return number


def _seconds(value: str) -> float:
    number = float(value)
    if not 2.0 <= number <= 60.0:
        raise ValueError("seconds from 2 to 60 are needed")
    return number


def _flag(value: str) -> bool:
    text = value.lower()
    if text.isdigit() and text not in _TRUE | _FALSE:
        return True  # the bytes that may be kept: what does not fit in them is computed again
    if text not in _TRUE | _FALSE | {"all"}:
        raise ValueError("choose on, off, all or a number of bytes")
    return text in _TRUE | {"all"}
