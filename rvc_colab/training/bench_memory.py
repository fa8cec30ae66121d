"""Measure the peak memory of a training step with each option that is there to save it.

Each option runs in a fresh process: what one took and the allocator keeps does not count for the
next. On a GPU its own count is read, elsewhere the process's memory is watched.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.hardware.machine import facts
from rvc_colab.hardware.plan import plan_training
from rvc_colab.profiling import process_bytes
from rvc_colab.training.activations import recompute_as_asked, table
from rvc_colab.training.batches import ClipStore
from rvc_colab.training.bench_feeding import noise_clips
from rvc_colab.training.feeding import Buffered, Feeder, Place, Plain, Shares
from rvc_colab.training.networks import build_networks, synthesizer_config
from rvc_colab.training.sampler import BatchPlan
from rvc_colab.training.step import GanStep, Machinery, Player, StepSettings, make_moments

_LOOK_SECONDS = 0.01
HALF = "half"  # of what the parts of the networks keep may stay


@dataclass(frozen=True)
class Choice:
    """One way to take the step: passes, precision, what is computed again, steps prepared ahead."""

    name: str
    passes: int = 1
    precision: str = "fp32"
    checkpointing: str = "off"
    buffer: int = 0


CHOICES = (
    Choice("32 bit, one pass"),
    Choice("two passes", passes=2),
    Choice("bf16", precision="bf16"),
    Choice("checkpointing auto", checkpointing="auto"),
    Choice("checkpointing, half may stay", checkpointing=HALF),
    Choice("checkpointing all", checkpointing="all"),
    Choice("bf16, two passes, checkpointing all", 2, "bf16", "all"),
    Choice("buffer of 10 steps", buffer=10),
    Choice("buffer of 50 steps", buffer=50),
)


class Peak:
    """The most memory in bytes that a block took beyond what was there when it began."""

    bytes: int = 0


@contextlib.contextmanager
def watched_memory(device: torch.device) -> Iterator[Peak]:
    """Watch a block's memory: on a GPU the allocator's count, else that of the process."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        begun = torch.cuda.memory_allocated(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.bytes = torch.cuda.max_memory_allocated(device) - begun
        return
    begun, done = process_bytes(), threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_SECONDS):
            peak.bytes = max(peak.bytes, process_bytes() - begun)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def measure_memory(
    config: TrainingConfig,
    device: torch.device,
    threads: int = 1,
    choices: Sequence[Choice] = CHOICES,
) -> list[dict[str, Any]]:
    """Measure each choice in a process of its own; `config.batch_size` slices a step, even.

    Returns plain values: the choice's name, the peak beyond weights and moments, and its share of
    the first one's.
    """
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for choice in choices:
        with context.Pool(1) as pool:
            taken = pool.apply(_in_process, (config.model_dump(), str(device), threads, choice))
        first = rows[0]["bytes"] if rows else taken
        rows.append({"name": choice.name, "bytes": taken, "share": round(taken / max(1, first), 3)})
    return rows


def _in_process(values: dict[str, Any], device: str, threads: int, choice: Choice) -> int:
    torch.set_num_threads(threads)
    return peak_of(TrainingConfig(**values), torch.device(device), choice)


def peak_of(config: TrainingConfig, device: torch.device, choice: Choice) -> int:
    """Return the most bytes that a step takes beyond weights and moments, its input included."""
    batch = config.batch_size or 2
    networks = build_networks(config)
    networks.generator.dec.channels_last = True

    def player(network: torch.nn.Module) -> Player:
        optimizer = torch.optim.AdamW(network.to(device).parameters(), fused=True)
        make_moments(optimizer)
        return Player(network, optimizer)

    generator, discriminator = player(networks.generator), player(networks.discriminator)
    plan = plan_training(facts(ask_torch=True), config.sample_rate, batch, choice.precision)
    plan = replace(plan, batch_size=batch // choice.passes)
    asked = choice.checkpointing
    if asked == HALF:
        kept = sum(part.kept_bytes for part in table(networks, choice.precision))
        asked = str(kept * plan.batch_size // 2)
    recompute_as_asked(networks, asked, plan)

    def autocast() -> Any:
        if choice.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    settings = StepSettings(networks.spectrogram)
    game = GanStep(generator, discriminator, settings, Machinery(autocast))
    feeder = _feeder(
        config, device, BatchPlan(batch, batch // choice.passes, choice.passes), choice
    )
    try:
        with watched_memory(device) as peak:
            if isinstance(feeder, Buffered):
                feeder.fill(Place(0, 0, 0), 0.0, lambda: False)
            float(game.step(feeder.take(Place(0, 0, 0)))["total"])  # waits for the device
    finally:
        feeder.close()
    return peak.bytes


def _feeder(
    config: TrainingConfig, device: torch.device, plan: BatchPlan, choice: Choice
) -> Feeder:
    spectrogram = spectrogram_config(config.sample_rate, str(config.version))
    clips = ClipStore(noise_clips(config, plan.clips), spectrogram, device)
    shares = Shares(clips, plan, synthesizer_config(config), 0, device)
    return Buffered(shares, choice.buffer) if choice.buffer else Plain(shares)


def memory_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Lay the peaks out as rows of text, the header first."""
    return [
        ["memory of a step", "peak GB", "share"],
        *([row["name"], f"{row['bytes'] / 2**30:.2f}", f"{row['share']:.0%}"] for row in rows),
    ]
