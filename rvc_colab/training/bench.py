"""Measure the training step on full-size models with random weights: published order against ours.

All options begin from the same weights, batch and draws, take turns in one process, and are
compared as ratios: a busy machine slows them alike. The published order is written out below as
plainly as the programs of the world have it, on our networks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from rvc_colab.audio.spectral import log_mel, log_mel_from_wave, spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.device import choose_device
from rvc_colab.models.synthesizer import TrainingNoise, slice_segments
from rvc_colab.training.batches import Batch, ClipStore, Draw, draw_for
from rvc_colab.training.bench_feeding import (
    CLIP_SECONDS,
    measure_waiting,
    noise_clips,
    waiting_rows,
)
from rvc_colab.training.bench_memory import measure_memory, memory_rows, watched_memory
from rvc_colab.training.bench_rates import NO_GPU, measure_rates, rate_rows
from rvc_colab.training.fit import BETAS, EPSILON
from rvc_colab.training.losses import (
    adversarial_loss,
    discriminator_loss,
    feature_loss,
    kl_loss,
    mel_loss,
)
from rvc_colab.training.networks import Networks, build_networks, synthesizer_config
from rvc_colab.training.step import GanStep, Losses, Machinery, Player, StepSettings

Part = tuple[Batch, Draw]


@dataclass
class Option:
    """One way to take the step, and what was measured of it."""

    name: str
    step: Callable[[Part], Losses]
    networks: Networks
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0


def published_step(networks: Networks) -> Callable[[Part], Losses]:
    """Write out the published order: one optimizer loop per tensor, D called for real and
    generated sound apart, unfrozen and with a graph of the real branch, mel of the whole before
    slicing, and a norm per tensor with a wait for the device."""
    generator, judge, mel = networks.generator, networks.discriminator, networks.spectrogram
    players = [
        torch.optim.AdamW(model.parameters(), 1e-4, BETAS, EPSILON, fused=False, foreach=False)
        for model in (generator, judge)
    ]
    frames, hop = generator.config.segment_frames, generator.config.hop

    def step(part: Part) -> Losses:
        batch, draw = part
        out = generator(batch, draw.starts, TrainingNoise(draw.posterior, draw.source))
        target = slice_segments(log_mel(batch.spec, mel), draw.starts, frames)
        real = slice_segments(batch.wave, draw.starts * hop, frames * hop)
        scores_real, _ = judge(real)
        scores_fake, _ = judge(out.wave.detach())
        loss_d = discriminator_loss(scores_real, scores_fake)
        players[1].zero_grad()
        loss_d.backward()
        _norm_by_norm(judge)
        players[1].step()
        _, maps_real = judge(real)
        scores_fake, maps_fake = judge(out.wave)
        divergence = kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.spec_mask)
        terms = {
            "mel": mel_loss(target, log_mel_from_wave(out.wave.squeeze(1), mel)) * 45,
            "kl": divergence / batch.frames_per_part,
            "feature": feature_loss([[m.detach() for m in maps] for maps in maps_real], maps_fake),
            "adversarial": adversarial_loss(scores_fake),
        }
        players[0].zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        _norm_by_norm(generator)
        players[0].step()
        return {"discriminator": loss_d.detach()} | {k: v.detach() for k, v in terms.items()}

    return step


def _norm_by_norm(model: torch.nn.Module) -> float:
    return sum(float(p.grad.norm()) ** 2 for p in model.parameters() if p.grad is not None) ** 0.5


def our_step(
    networks: Networks, device: torch.device, half: torch.dtype | None
) -> Callable[[Part], Losses]:
    """Return the step as training takes it, in 32 or 16 bit."""

    def autocast() -> AbstractContextManager[Any]:
        return nullcontext() if half is None else torch.autocast(device.type, half)

    def player(model: torch.nn.Module) -> Player:
        return Player(
            model, torch.optim.AdamW(model.parameters(), 1e-4, BETAS, EPSILON, fused=True)
        )

    networks.generator.dec.channels_last = True
    settings = StepSettings(networks.spectrogram)
    game = GanStep(
        player(networks.generator), player(networks.discriminator), settings, Machinery(autocast)
    )
    return lambda part: game.step([part])


def run_bench(
    batch_size: int = 1, threads: int = 2, steps: int = 3, sample_rate: int = 40000
) -> dict[str, Any]:
    """Measure every option `steps` times after a first time that is not counted.

    Returns plain values: per option the median wall and CPU seconds of a step, the ratio to the
    published order (of CPU seconds on a CPU), the peak of the process's memory while it ran, and
    the largest relative difference of a loss of the first step; the shares of time that wait for
    data, the memory of each option, and on a GPU the rates of precisions and batch sizes.
    """
    device = choose_device("auto").device
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        config = TrainingConfig(sample_rate=sample_rate)
        part = _part(config, batch_size, device)
        return _measured(_options(config, device), part, steps, device) | {
            "waiting": _waiting(config, batch_size, device, steps),
            "memory": measure_memory(_even(config, batch_size), device, threads),
            "rates": measure_rates(config, steps) if device.type == "cuda" else [],
            "model": f"v2 {sample_rate} Hz, full size, random weights",
            "batch_size": batch_size,
            "threads": threads,
            "device": str(device),
            "torch": torch.__version__,
            "notes": [] if device.type == "cuda" else [NO_GPU],
        }
    finally:
        torch.set_num_threads(before)


def _waiting(
    config: TrainingConfig, batch_size: int, device: torch.device, steps: int
) -> list[dict[str, Any]]:
    """Measure the share of time that our step waits for data, in the precision of this device."""
    networks = build_networks(config)
    networks.generator.to(device)
    networks.discriminator.to(device)
    take = our_step(networks, device, None if device.type == "cpu" else torch.bfloat16)

    def step(parts: list[Part]) -> float:
        return float(take(parts[0])["total"])  # waits for the device

    settings = config.model_copy(update={"batch_size": batch_size})
    clips = noise_clips(config, max(8, 2 * batch_size))
    return measure_waiting(settings, clips, step, device, steps)


def _even(config: TrainingConfig, batch_size: int) -> TrainingConfig:
    """Name an even number of slices, which two passes can share."""
    return config.model_copy(update={"batch_size": max(2, batch_size + batch_size % 2)})


def more_tables(report: dict[str, Any]) -> list[list[list[str]]]:
    """Lay out the waiting for data, the memory of each option, and the rates where a GPU is."""
    tables = [waiting_rows(report["waiting"]), memory_rows(report["memory"])]
    return tables + ([rate_rows(report["rates"])] if report["rates"] else [])


def _options(
    config: TrainingConfig, device: torch.device
) -> list[tuple[str, Callable[[], Option]]]:
    """Name the options; each builds its networks when its turn comes, from the same seed."""

    def fresh() -> Networks:
        networks = build_networks(config)
        networks.generator.to(device)
        networks.discriminator.to(device)
        return networks

    def published() -> Option:
        networks = fresh()
        return Option("published order, 32 bit", published_step(networks), networks)

    def ours(name: str, half: torch.dtype | None) -> Callable[[], Option]:
        def build() -> Option:
            networks = fresh()
            return Option(name, our_step(networks, device, half), networks)

        return build

    return [
        ("published", published),
        ("exact", ours("ours, 32 bit", None)),
        ("16-bit", ours("ours, bf16", torch.bfloat16)),
    ]


def _part(config: TrainingConfig, batch_size: int, device: torch.device) -> Part:
    """Make a batch of noise with the shapes of speech."""
    networks_config = synthesizer_config(config)
    clips, frames = noise_clips(config, batch_size), int(CLIP_SECONDS * 100)
    store = ClipStore(clips, spectrogram_config(config.sample_rate, str(config.version)), device)
    batch = store.gather(range(batch_size), frames)
    generator = torch.Generator(device).manual_seed(0)
    return batch, draw_for(batch.spec_lengths, frames, networks_config, generator)


def _measured(
    options: list[tuple[str, Callable[[], Option]]], part: Part, steps: int, device: torch.device
) -> dict[str, Any]:
    made = [build() for _, build in options]
    for option in made:
        with watched_memory(device) as peak:
            option.losses = {name: float(value) for name, value in option.step(part).items()}
        option.peak_bytes = peak.bytes
    for _ in range(steps):
        for option in made:
            wall, cpu = time.perf_counter(), time.process_time()
            last = option.step(part)
            float(next(iter(last.values())))  # waits for the device
            option.wall.append(time.perf_counter() - wall)
            option.cpu.append(time.process_time() - cpu)
    first = made[0]
    return {"options": [_row(option, first, device) for option in made]}


def _row(option: Option, first: Option, device: torch.device) -> dict[str, Any]:
    counted = "cpu" if device.type == "cpu" else "wall"
    ours, theirs = (statistics.median(getattr(each, counted)) for each in (option, first))
    worst = max(
        abs(option.losses[name] - value) / max(abs(value), 1e-6)
        for name, value in first.losses.items()
    )
    return {
        "name": option.name,
        "wall_seconds": round(statistics.median(option.wall), 3),
        "cpu_seconds": round(statistics.median(option.cpu), 3),
        "times_as_fast": round(theirs / ours, 2),
        "grown_gb": round(option.peak_bytes / 2**30, 2),
        "largest_loss_difference": float(f"{worst:.2g}"),
    }


def table_rows(report: dict[str, Any]) -> list[list[str]]:
    """Lay the report out as rows of text, the header first."""
    rows = [["step", "wall s", "CPU s", "times as fast", "memory +GB", "loss difference"]]
    for option in report["options"]:
        rows.append(
            [
                option["name"],
                f"{option['wall_seconds']:.2f}",
                f"{option['cpu_seconds']:.2f}",
                f"{option['times_as_fast']:.2f}",
                f"{option['grown_gb']:.2f}",
                f"{option['largest_loss_difference']:.1e}",
            ]
        )
    return rows
