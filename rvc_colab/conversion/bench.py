"""Measure conversion on full-size networks with random weights, option against option.

Networks with random weights cost what trained ones cost. All figures of one run share one machine
and one load, so their ratios can be believed where their seconds cannot; on a CPU the seconds are
processor seconds. The first row is the order of work of RVC-WebUI and Applio, transcribed: relative
positions padded to 2T - 1, weight norm live, every frame decoded, padding included.
"""

from __future__ import annotations

import gc
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvc_colab.config import CONTENT_RATE, ConversionConfig
from rvc_colab.conversion.chunking import Timeline
from rvc_colab.conversion.noise import NoiseTape
from rvc_colab.conversion.pipeline import Networks
from rvc_colab.conversion.stages import StageClock, settler
from rvc_colab.conversion.stream import Conversion
from rvc_colab.device import choose_device
from rvc_colab.features.content import HubertEncoder
from rvc_colab.features.retrieval import RetrievalIndex
from rvc_colab.models.attention import WINDOW, Band, RelativeAttention
from rvc_colab.models.flow import Coupling
from rvc_colab.models.synthesizer import (
    InferOptions,
    Synthesizer,
    SynthesizerConfig,
    fold_weight_norm,
    prepare_for_inference,
)
from rvc_colab.progress import SilentProgress

VOICE_RATE = 40000
INDEX_ROWS = 10_000
CONTEXT_FRAMES = 100  # the padding of the references: 1 s on each side
SEED = 1234
REFERENCE = "reference order"
OURS = "as converted here"


@dataclass(frozen=True)
class _Stretch:
    """What a synthesizer is fed: the sound and one second of context on both sides."""

    content: Tensor
    coarse_pitch: Tensor
    f0_hz: Tensor
    options: InferOptions
    keep: tuple[int, int]


@dataclass(frozen=True)
class _Option:
    """One way to run the synthesizer."""

    name: str
    model: Synthesizer
    trimmed: bool  # decode only the kept frames


class PaddedAttention(RelativeAttention):
    """Relative attention as published: the table is padded to 2T - 1 positions and skewed.

    The same numbers as the band's, for T² extra work; it stands here to be measured against.
    """

    def forward(self, x: Tensor, masked: Tensor, band: Band) -> Tensor:
        """Attend within [B, C, T]."""
        frames = x.shape[2]
        query, key, value = (self._split(c(x)) for c in (self.conv_q, self.conv_k, self.conv_v))
        query = query / query.shape[-1] ** 0.5
        scores = query @ key.transpose(-2, -1)
        relative = query @ self._table(self.emb_rel_k, frames).transpose(-2, -1)
        scores = scores + _to_absolute(relative)
        weights = F.softmax(scores.masked_fill(masked, -1e4), dim=-1)
        mixed = weights @ value
        mixed = mixed + _to_relative(weights) @ self._table(self.emb_rel_v, frames)
        return self.conv_o(mixed.transpose(-2, -1).reshape(x.shape))

    @staticmethod
    def _table(known: Tensor, frames: int) -> Tensor:
        """Return the table of 2T - 1 relative positions; zeros beyond the window."""
        missing = frames - 1 - WINDOW
        if missing >= 0:
            return F.pad(known, (0, 0, missing, missing))
        return known[:, -missing : known.shape[1] + missing]


def _to_absolute(relative: Tensor) -> Tensor:
    """[B, H, T, 2T - 1] by distance → [B, H, T, T] by position."""
    batch, heads, frames, _ = relative.shape
    flat = F.pad(relative, (0, 1)).flatten(2)
    rows = F.pad(flat, (0, frames - 1)).view(batch, heads, frames + 1, 2 * frames - 1)
    return rows[:, :, :frames, frames - 1 :]


def _to_relative(weights: Tensor) -> Tensor:
    """[B, H, T, T] by position → [B, H, T, 2T - 1] by distance."""
    batch, heads, frames, _ = weights.shape
    flat = F.pad(weights, (0, frames - 1)).flatten(2)
    return F.pad(flat, (frames, 0)).view(batch, heads, frames, 2 * frames)[..., 1:]


def run_bench(
    seconds: float = 10.0, threads: int = 2, steps: int = 3, device: str = "auto"
) -> dict[str, Any]:
    """Measure every stage and option on `seconds` of sound; the median of `steps` interleaved runs.

    Returns `machine`, `stages` (seconds, real-time factor), `options` (seconds, ratio against the
    reference order, difference of the sound) and `total`, all plain values.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _run(seconds, steps, device)
    finally:
        torch.set_num_threads(before)


def _run(seconds: float, steps: int, device_name: str) -> dict[str, Any]:
    choice = choose_device(device_name)
    device = choice.device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    half = torch.bfloat16 if device.type == "cpu" else choice.dtype
    networks = _networks(device)
    assert isinstance(networks.voice, Synthesizer)
    state = {k: v.clone() for k, v in networks.voice.state_dict().items()}
    options = _options(state, device, half)
    networks.voice = next(o.model for o in options if o.name == OURS)
    stretch = _stretch(seconds, networks, device)
    spent: dict[str, list[float]] = {option.name: [] for option in options}
    sounds: dict[str, Tensor] = {}
    stages: list[dict[str, float]] = []
    walls: list[float] = []
    settle = settler(device)
    for step in range(steps + 1):
        for option in options:
            took, sounds[option.name] = _timed(option, stretch, clock, settle)
            if step:
                spent[option.name].append(took)
        begun = time.perf_counter()
        found = _convert(seconds, networks, StageClock(settle, clock))
        if step:  # the first round warms up
            stages.append(found)
            walls.append(time.perf_counter() - begun)
    report = _report(seconds, spent, sounds, stages)
    report["wall_real_time_factor"] = round(statistics.median(walls) / seconds, 4)
    report["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "device": choice.reason,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "clock": "processor seconds" if device.type == "cpu" else "wall seconds",
    }
    report["peak_memory_mb"] = round(_peak_memory_mb(device))
    return report


def _networks(device: torch.device) -> Networks:
    """Build the full-size networks: v2 40k voice, HuBERT base, RMVPE, an index of 10,000 rows."""
    from transformers import HubertConfig, HubertModel

    from rvc_colab.features.f0_rmvpe import RmvpeEstimator
    from rvc_colab.models.rmvpe import E2E, E2EConfig

    torch.manual_seed(SEED)
    voice = Synthesizer(SynthesizerConfig.standard(VOICE_RATE, "v2"), with_posterior=False)
    for step in voice.flow.flows:  # zero at the start of training
        if isinstance(step, Coupling):
            torch.nn.init.normal_(step.post.weight, std=0.02)
    hubert = HubertModel(HubertConfig()).eval().requires_grad_(False).to(device)
    rmvpe = RmvpeEstimator(E2E(E2EConfig()).state_dict(), device)
    index = RetrievalIndex(torch.randn(INDEX_ROWS, 768, device=device), "random")
    encoder = HubertEncoder("random", hubert, None)
    return Networks(voice.eval().requires_grad_(False), encoder, rmvpe, index, device)


def _options(state: dict[str, Tensor], device: torch.device, half: torch.dtype) -> list[_Option]:
    """Build the ways to run the synthesizer, each a step further from the reference order."""

    def fresh(padded: bool = False) -> Synthesizer:
        with torch.device("meta"):
            model = Synthesizer(SynthesizerConfig.standard(VOICE_RATE, "v2"), with_posterior=False)
        model.load_state_dict({k: v.clone() for k, v in state.items()}, assign=True)
        if padded:
            for layer in model.enc_p.encoder.attn_layers:
                layer.__class__ = PaddedAttention
        return model.eval().requires_grad_(False).to(device)

    ours, in_16_bit = prepare_for_inference(fresh()), prepare_for_inference(fresh())
    in_16_bit.dec.to(half)
    name = str(half).removeprefix("torch.")
    options = [
        _Option(REFERENCE, fresh(padded=True), trimmed=False),
        _Option("+ banded attention", fresh(), trimmed=False),
        _Option("+ weight norm folded", fold_weight_norm(fresh()), trimmed=False),
        _Option("+ only kept frames", fold_weight_norm(fresh()), trimmed=True),
        _Option(OURS, ours, trimmed=True),  # + channels last
    ]
    if half is not torch.float32:
        options.append(_Option(f"generator in {name}", in_16_bit, trimmed=True))
    return options


def _stretch(seconds: float, networks: Networks, device: torch.device) -> _Stretch:
    frames = int(seconds * 100) + 2 * CONTEXT_FRAMES
    torch.manual_seed(SEED)
    voice = networks.voice.config
    f0_hz = 200 + 50 * torch.sin(torch.arange(frames, device=device) / 30)
    f0_hz[::7] = 0
    tape = NoiseTape(SEED)
    options = InferOptions(
        prior_noise=torch.from_numpy(tape.prior(0, frames, voice.inter_channels))[None].to(device),
        source_noise=torch.from_numpy(tape.source(0, frames, voice.hop))[None, :, None].to(device),
    )
    return _Stretch(
        content=torch.randn(1, frames, voice.content_channels, device=device),
        coarse_pitch=torch.randint(1, 256, (1, frames), device=device),
        f0_hz=f0_hz[None],
        options=options,
        keep=(CONTEXT_FRAMES, frames - CONTEXT_FRAMES),
    )


def _timed(
    option: _Option,
    stretch: _Stretch,
    clock: Callable[[], float],
    settle: Callable[[], None],
) -> tuple[float, Tensor]:
    """Run one option; return its seconds and the kept sound [n]."""
    frames = stretch.content.shape[1]
    chosen = InferOptions(
        stretch.options.prior_noise,
        stretch.options.source_noise,
        keep=stretch.keep if option.trimmed else None,
    )
    lengths = torch.tensor([frames], device=stretch.content.device)
    speaker = torch.zeros(1, dtype=torch.long, device=stretch.content.device)
    gc.collect()
    settle()
    begun = clock()
    wave = option.model.infer(
        stretch.content, lengths, stretch.coarse_pitch, stretch.f0_hz, speaker, chosen
    )
    settle()
    took = clock() - begun
    if not option.trimmed:
        hop = option.model.config.hop
        wave = wave[..., stretch.keep[0] * hop : stretch.keep[1] * hop]
    return took, wave.flatten().float().cpu()


def _convert(seconds: float, networks: Networks, clock: StageClock) -> dict[str, float]:
    """Convert `seconds` of noise through the whole journey; return seconds by stage."""
    samples = int(seconds * CONTENT_RATE)
    wave = 0.1 * np.random.default_rng(SEED).standard_normal(samples).astype(np.float32)
    conversion = Conversion(
        networks=networks,
        config=ConversionConfig(seed=SEED),
        timeline=Timeline(samples, CONTENT_RATE, VOICE_RATE, VOICE_RATE),
        noise=NoiseTape(SEED),
        clock=clock,
        progress=SilentProgress(),
    )
    for _ in conversion.blocks(iter([wave])):
        pass
    return conversion.clock.seconds


def _report(
    seconds: float,
    spent: dict[str, list[float]],
    sounds: dict[str, Tensor],
    stages: list[dict[str, float]],
) -> dict[str, Any]:
    medians = {name: statistics.median(took) for name, took in spent.items()}
    by_stage = {name: statistics.median(found[name] for found in stages) for name in stages[0]}
    total = sum(by_stage.values())
    # The other stages are the same work in the reference order.
    reference = total - by_stage["synthesis"] + medians[REFERENCE]
    exact = sounds[REFERENCE]
    return {
        "seconds": seconds,
        "stages": {
            name: {"seconds": round(took, 4), "real_time_factor": round(took / seconds, 4)}
            for name, took in by_stage.items()
        },
        "options": {
            name: {
                "seconds": round(took, 4),
                "real_time_factor": round(took / seconds, 4),
                "ratio": round(medians[REFERENCE] / took, 2),
                "largest_difference": float((sounds[name] - exact).abs().max()),
                "difference_db": round(_db(sounds[name] - exact, exact), 1),
            }
            for name, took in medians.items()
        },
        "total": {
            "seconds": round(total, 4),
            "real_time_factor": round(total / seconds, 4),
            "reference_order_seconds": round(reference, 4),
            "ratio": round(reference / total, 2),
        },
    }


def _db(error: Tensor, signal: Tensor) -> float:
    return float(10 * torch.log10((error.square().mean() + 1e-30) / signal.square().mean()))


def _peak_memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Kilobytes, on macOS bytes.
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def table_rows(report: dict[str, Any]) -> list[list[str]]:
    """Lay a report out for a person: header first, then stages, the total and the options."""
    rows = [["what", report["machine"]["clock"], "real-time factor", "ratio", "difference"]]
    for name, stage in report["stages"].items():
        rows.append([name, f"{stage['seconds']:.2f}", f"{stage['real_time_factor']:.3f}", "", ""])
    total = report["total"]
    rows.append(
        ["total", f"{total['seconds']:.2f}", f"{total['real_time_factor']:.3f}"]
        + [f"{total['ratio']:.2f} x {REFERENCE}", ""]
    )
    rows.append([f"peak memory {report['peak_memory_mb']} MB", "", "", "", ""])
    for name, option in report["options"].items():
        rows.append(
            [f"synthesis: {name}", f"{option['seconds']:.2f}", f"{option['real_time_factor']:.3f}"]
            + [f"{option['ratio']:.2f}", f"{option['difference_db']:.0f} dB"]
        )
    return rows
