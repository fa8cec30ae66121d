"""Hear what a voice makes of a clip, while it is trained."""

from __future__ import annotations

import numpy as np
import torch

from rvc_colab.models.synthesizer import InferOptions, Synthesizer
from rvc_colab.training.batches import ClipStore
from rvc_colab.training.feeding import moved


@torch.no_grad()
def speak(model: Synthesizer, clips: ClipStore, number: int, seed: int) -> np.ndarray:
    """Convert one clip from its content and pitch: float32 [N] at the voice's rate.

    The same noise each time, so that two moments of a run differ by the voice alone.
    """
    frames = clips.lengths[number]
    device = model.emb_g.weight.device
    batch = moved(clips.gather([number], frames), device)
    generator = torch.Generator(device).manual_seed(seed)
    shape = (1, model.config.inter_channels, frames)
    options = InferOptions(
        prior_noise=torch.randn(shape, generator=generator, device=device),
        source_noise=torch.randn(
            1, frames * model.config.hop, 1, generator=generator, device=device
        ),
    )
    wave = model.infer(
        batch.content,
        batch.content_lengths,
        batch.coarse_pitch,
        batch.f0_hz,
        batch.speaker_id,
        options,
    )
    return wave[0, 0].float().cpu().numpy()
