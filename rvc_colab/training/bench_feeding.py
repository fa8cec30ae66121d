"""Measure how long the model waits for its data: gathered on the spot, buffered, on two devices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.device import cuda_count
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.feeding import Buffered, Feeder, Parts, Place, Plain, Shares
from rvc_colab.training.networks import synthesizer_config
from rvc_colab.training.sampler import BatchPlan

BUFFERS = (1, 10, 50)
CLIP_SECONDS = 3.68  # a published slice of 3.7 s in whole content frames


def noise_clips(config: TrainingConfig, count: int, seconds: float = CLIP_SECONDS) -> list[Clip]:
    """Make clips of noise with the shapes of speech."""
    width = synthesizer_config(config).content_channels
    random, frames = np.random.default_rng(0), int(seconds * 100)
    samples = frames * (config.sample_rate // 100)
    return [
        Clip(
            (0.1 * random.standard_normal(samples)).astype(np.float32),
            random.standard_normal((frames // 2, width)).astype(np.float16),
            np.full(frames, 200.0, dtype=np.float32),
        )
        for _ in range(count)
    ]


def measure_waiting(
    config: TrainingConfig,
    clips: Sequence[Clip],
    step: Callable[[Parts], Any],
    device: torch.device,
    steps: int = 3,
    buffers: Sequence[int] = BUFFERS,
) -> list[dict[str, Any]]:
    """Take `steps` steps in each input mode; return the share of time that waits for data.

    Each mode begins with one step that is not counted. `step` must wait for the device. On a
    machine with one device the two-device mode keeps the clips in the computer's memory.
    """
    size = synthesizer_config(config)
    spectrogram = spectrogram_config(config.sample_rate, str(config.version))
    data = torch.device("cuda", 1) if cuda_count() > 1 else torch.device("cpu")
    plan = BatchPlan(len(clips), config.batch_size or 1)
    near = Shares(ClipStore(clips, spectrogram, device), plan, size, 0, device)
    far = Shares(ClipStore(clips, spectrogram, data), plan, size, 0, device)
    rows = [{"mode": "on the spot", "buffer": 0, "waiting": _share(Plain(near), step, near, steps)}]
    for mode, shares in (("buffered", near), (f"prepared on {data}", far)):
        for buffer in buffers:
            feeder = Buffered(shares, buffer, end=1 + steps + buffer)
            feeder.fill(Place(0, 0, 0), 0.0, lambda: False)
            waiting = _share(feeder, step, shares, steps)
            rows.append({"mode": mode, "buffer": buffer, "waiting": waiting})
    return rows


def _share(feeder: Feeder, step: Callable[[Parts], Any], shares: Shares, steps: int) -> float:
    place = Place(0, 0, 0)
    try:
        step(feeder.take(place))
        waited, begun = feeder.waited_seconds, time.perf_counter()
        for _ in range(steps):
            place = shares.after(place)
            step(feeder.take(place))
        seconds = time.perf_counter() - begun
        return round((feeder.waited_seconds - waited) / seconds, 4)
    finally:
        feeder.close()


def waiting_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Lay the shares out as rows of text, the header first."""
    return [
        ["input", "buffer", "time waiting for data"],
        *([row["mode"], str(row["buffer"] or "–"), f"{row['waiting']:.2%}"] for row in rows),
    ]
