"""Measure the step on a GPU: precisions, compiled and recorded forms, batch sizes.

The share of the peak is told against a large matrix product in the same arithmetic on the same
device: what the device really reaches, not what a data sheet says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import Precision, TrainingConfig
from rvc_colab.device import empty_cache
from rvc_colab.memory.exhaustion import is_out_of_memory
from rvc_colab.training.batches import ClipStore
from rvc_colab.training.bench_feeding import noise_clips
from rvc_colab.training.bench_memory import watched_memory
from rvc_colab.training.compilation import speed_up_as_asked
from rvc_colab.training.feeding import Parts, Place, Shares
from rvc_colab.training.machine import open_machine
from rvc_colab.training.networks import build_networks, synthesizer_config
from rvc_colab.training.sampler import BatchPlan
from rvc_colab.training.step import GanStep, StepSettings

BATCHES = (4, 8, 16, 32, 64)
NO_GPU = "No GPU is here: precisions, compiled forms and batch sizes were not measured on one."
_SIDE = 4096  # of the matrices that tell the peak
_WARM = 3  # steps that are not counted: libraries choose their kernels, the compiler compiles


@dataclass(frozen=True)
class Form:
    """An arithmetic with what it asks for."""

    name: str
    precision: Precision
    tf32: bool = False
    compile: bool = False
    cuda_graphs: bool = False


FORMS = (
    Form("fp32", Precision.FP32),
    Form("TF32", Precision.FP32, tf32=True),
    Form("bf16", Precision.BF16),
    Form("fp16", Precision.FP16),
    Form("bf16, compiled", Precision.BF16, compile=True),
    Form("bf16, CUDA graphs", Precision.BF16, cuda_graphs=True),
)


def measure_rates(
    config: TrainingConfig,
    steps: int = 3,
    forms: Sequence[Form] = FORMS,
    batches: Sequence[int] = BATCHES,
    side: int = _SIDE,
) -> list[dict[str, Any]]:
    """Measure every form at every batch size on the device that `config` names.

    Returns plain values: seconds of a step, slices a second, the share of the device's peak, the
    peak memory beyond weights and moments, and in `note` why there are none or what was left out.
    """
    rows = []
    for form in forms:
        rate = _peak_rate(form, config, side)
        for batch in batches:
            row: dict[str, Any] = {"form": form.name, "batch": batch, "note": ""}
            try:
                row |= _measured(form, config.model_copy(update={"batch_size": batch}), steps, rate)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                row["note"] = "out of memory"
            empty_cache()
            rows.append(row)
    return rows


def _measured(form: Form, config: TrainingConfig, steps: int, rate: float) -> dict[str, Any]:
    step, device, notes = _prepared(form, config)
    with FlopCounterMode(display=False) as counted:
        step()
    for _ in range(_WARM):
        step()
    with watched_memory(device) as peak:
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        seconds = (time.perf_counter() - begun) / steps
    return {
        "seconds": round(seconds, 4),
        "slices_a_second": round((config.batch_size or 1) / seconds, 2),
        "share_of_peak": round(counted.get_total_flops() / seconds / rate, 3),
        "bytes": peak.bytes,
        "note": " ".join(notes),
    }


def _prepared(
    form: Form, config: TrainingConfig
) -> tuple[Callable[[], float], torch.device, list[str]]:
    """Return a step as training takes it, which waits for the device; and what was left out."""
    choices = {"mixed_precision": form.precision, "compile": form.compile}
    config = config.model_copy(update=choices | {"cuda_graphs": form.cuda_graphs})
    machine = open_machine(config)
    _allow_tf32(form.tf32)
    networks = build_networks(config)
    networks.generator.dec.channels_last = True

    def adam(network: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(network.parameters(), 1e-4, fused=True)

    generator, discriminator = (
        machine.player(network, adam) for network in (networks.generator, networks.discriminator)
    )
    settings = StepSettings(networks.spectrogram)
    game = GanStep(generator, discriminator, settings, machine.machinery())
    notes = machine.notes + speed_up_as_asked(networks, config, machine)
    parts = _parts(config, machine.device)
    return lambda: float(game.step(parts)["total"]), machine.device, notes


def _parts(config: TrainingConfig, device: torch.device) -> Parts:
    batch = config.batch_size or 1
    spectrogram = spectrogram_config(config.sample_rate, str(config.version))
    clips = ClipStore(noise_clips(config, batch), spectrogram, device)
    shares = Shares(clips, BatchPlan(batch, batch), synthesizer_config(config), 0, device)
    return shares.parts(Place(0, 0, 0))


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed


def _peak_rate(form: Form, config: TrainingConfig, side: int) -> float:
    """Return the operations a second of a large matrix product in a form's arithmetic."""
    kinds = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
    device = open_machine(config).device
    one = torch.ones(side, side, device=device, dtype=kinds.get(form.precision, torch.float32))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = form.tf32
    try:
        best = float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            float((one @ one)[0, 0])  # waits for the device
            best = min(best, time.perf_counter() - begun)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 / best


def rate_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Lay the rates out as rows of text, the header first."""
    table = [["arithmetic", "batch", "step s", "slices/s", "of the peak", "memory GB", "note"]]
    for row in rows:
        figures = ["–"] * 4
        if "seconds" in row:
            figures = [
                f"{row['seconds']:.3f}",
                f"{row['slices_a_second']:.1f}",
                f"{row['share_of_peak']:.1%}",
                f"{row['bytes'] / 2**30:.2f}",
            ]
        table.append([row["form"], str(row["batch"]), *figures, row["note"]])
    return table
