"""The synthesizer: content, pitch and speaker → sound. One class for v1, v2, with and without f0.

A conditional variational autoencoder after VITS (arXiv 2106.06103) in which content features take
the place of text. Training encodes the recording (`enc_q`), pulls its latent towards what content
and pitch predict (`enc_p`, through `flow`), and decodes a random slice (`dec`). Conversion samples
the prediction, runs the flow backwards and decodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rvc_colab.errors import TrainingError
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.flow import Flow
from rvc_colab.models.generator import Generator, to_channels_last
from rvc_colab.models.layers import embedding, fold_weight_norm
from rvc_colab.models.posterior import PosteriorEncoder
from rvc_colab.models.prior import PriorEncoder
from rvc_colab.models.source import phase_at_frames

__all__ = [
    "InferOptions",
    "Synthesizer",
    "SynthesizerBatch",
    "SynthesizerConfig",
    "SynthesizerOutput",
    "TrainingNoise",
    "fold_weight_norm",
    "phase_at_frames",
    "prepare_for_inference",
    "slice_segments",
]

PRIOR_SCALE = 0.66666
"""The prior is sampled a little below its own spread (published models)."""


class SynthesizerBatch(Protocol):
    """What the training step needs of a batch."""

    content: Tensor  # [B, T, C]
    content_lengths: Tensor  # [B]
    coarse_pitch: Tensor | None  # [B, T], 1..255
    f0_hz: Tensor | None  # [B, T], 0 where unvoiced
    spec: Tensor  # [B, F, T]
    spec_lengths: Tensor  # [B]
    speaker_id: Tensor  # [B]


class SynthesizerOutput(NamedTuple):
    """What the losses need of a training pass; latents are [B, inter, T], masks [B, 1, T]."""

    wave: Tensor  # [B, 1, S]
    slice_starts: Tensor  # [B], frames
    content_mask: Tensor
    spec_mask: Tensor
    z: Tensor
    z_p: Tensor
    m_p: Tensor
    logs_p: Tensor
    m_q: Tensor
    logs_q: Tensor


@dataclass(frozen=True, eq=False)
class TrainingNoise:
    """Unit normal draws of a training pass, handed in to repeat it: [B, inter, T] and [B, S, 1]."""

    posterior: Tensor | None = None
    source: Tensor | None = None


@dataclass(frozen=True, eq=False)
class InferOptions:
    """How to run `Synthesizer.infer`; N is the length of the whole stretch, kept or not.

    `prior_noise` [B, inter, T] and `source_noise` [B, N, 1] are unit normal draws, None draws them.
    `keep` is the half-open range of frames to decode; the sound is that of a cut from the whole.
    `start_phase` [B] is the phase of the sine at frame 0 in cycles (see `phase_at_frames`).
    """

    prior_noise: Tensor | None = None
    source_noise: Tensor | None = None
    keep: tuple[int, int] | None = None
    start_phase: Tensor | None = None


class Synthesizer(nn.Module):
    """A voice."""

    def __init__(self, config: SynthesizerConfig, with_posterior: bool = True) -> None:
        super().__init__()
        config.validate()
        self.config = config
        self.enc_p = PriorEncoder(config)
        self.dec = Generator(config)
        if with_posterior:
            self.enc_q = PosteriorEncoder(config)
        self.flow = Flow(config)
        self.emb_g = embedding(config.speakers, config.gin_channels)

    def forward(
        self,
        batch: SynthesizerBatch,
        slice_starts: Tensor | None = None,
        noise: TrainingNoise | None = None,
        from_prior: bool = False,
    ) -> SynthesizerOutput:
        """Encode a batch and decode one slice of each item (training).

        `slice_starts` [B] in frames and `noise` are drawn when None. With `from_prior` the slice is
        decoded from a sample of the prior, as in conversion; the recording is not encoded and the
        prior stands in for the posterior. Raises TrainingError when the batch is shorter than a
        slice.
        """
        noise = noise or TrainingNoise()
        speaker = self.emb_g(batch.speaker_id).unsqueeze(-1)
        m_p, logs_p, content_mask = self.enc_p(
            batch.content, batch.coarse_pitch, batch.content_lengths
        )
        if from_prior:
            m_q, logs_q, spec_mask = m_p, logs_p, content_mask
            z_p = _prior_sample(m_p, logs_p, content_mask, noise.posterior)
            z = self.flow.inverse(z_p, content_mask, speaker) * content_mask
        else:
            z, m_q, logs_q, spec_mask = self.enc_q(
                batch.spec, batch.spec_lengths, speaker, noise.posterior
            )
            z_p = self.flow(z, spec_mask, speaker)
        frames = self.config.segment_frames
        if z.shape[2] < frames:
            raise TrainingError(
                f"A batch of {z.shape[2]} frames is shorter than the slice of {frames} frames.",
                "Leave out clips shorter than a slice, or pad the batch.",
            )
        if slice_starts is None:
            slice_starts = draw_slice_starts(batch.spec_lengths, frames)
        excitation = None
        if batch.f0_hz is not None:
            f0_hz = slice_segments(batch.f0_hz.unsqueeze(1), slice_starts, frames).squeeze(1)
            excitation = self.dec.m_source(f0_hz, phase_at_frames(f0_hz)[:, :-1], noise.source)
        wave = self.dec(slice_segments(z, slice_starts, frames), excitation, speaker)
        return SynthesizerOutput(
            wave, slice_starts, content_mask, spec_mask, z, z_p, m_p, logs_p, m_q, logs_q
        )

    @torch.no_grad()
    def infer(
        self,
        content: Tensor,
        lengths: Tensor,
        coarse_pitch: Tensor | None,
        f0_hz: Tensor | None,
        speaker_id: Tensor,
        options: InferOptions | None = None,
    ) -> Tensor:
        """Convert content [B, T, C] to sound [B, 1, N], of the kept frames only if `keep` says so.

        `lengths` [B] in frames; `coarse_pitch` [B, T] 1..255 and `f0_hz` [B, T] (0 = unvoiced) are
        None for voices without f0; `speaker_id` [B]. Nothing here waits for the device.
        """
        options = options or InferOptions()
        frames = content.shape[1]
        first, last = options.keep or (0, frames)
        content = content.to(self.enc_p.emb_phone.weight.dtype)
        speaker = self.emb_g(speaker_id).unsqueeze(-1)
        m_p, logs_p, mask = self.enc_p(content, coarse_pitch, lengths)
        begin, end = _widen(
            first, last, self.dec.context_frames, frames
        )  # what the generator reads
        outer = _widen(begin, end, self.flow.context_frames, frames)  # what the flow reads
        cut = slice(*outer)
        m_p, logs_p, mask = m_p[..., cut], logs_p[..., cut], mask[..., cut]
        noise = options.prior_noise
        z_p = _prior_sample(m_p, logs_p, mask, None if noise is None else noise[..., cut])
        latent = self.flow.inverse(z_p, mask, speaker) * mask
        latent = latent[..., begin - outer[0] : end - outer[0]]
        excitation = None if f0_hz is None else self._excitation(f0_hz, (begin, end), options)
        wave = self.dec(latent, excitation, speaker)
        hop = self.config.hop
        return wave[..., (first - begin) * hop : (last - begin) * hop].float()

    def _excitation(self, f0_hz: Tensor, span: tuple[int, int], options: InferOptions) -> Tensor:
        """The excitation [B, 1, n] of a span of frames, with the phase of the whole stretch."""
        begin, end = span
        phase = phase_at_frames(f0_hz, options.start_phase)[:, begin:end]
        noise, hop = options.source_noise, self.config.hop
        if noise is not None:
            noise = noise[:, begin * hop : end * hop].contiguous()
        return self.dec.m_source(f0_hz[:, begin:end], phase, noise)


def _prior_sample(mean: Tensor, log_spread: Tensor, mask: Tensor, draw: Tensor | None) -> Tensor:
    draw = torch.randn_like(mean) if draw is None else draw.to(mean.dtype)
    return (mean + torch.exp(log_spread) * draw * PRIOR_SCALE) * mask


def prepare_for_inference(model: Synthesizer, channels_last: bool = True) -> Synthesizer:
    """Bring a voice into its fast form, in place: eval, no gradients, weight norm folded.

    With `channels_last` the generator also takes its (1, K) form: same sound within 1e-6. The model
    can no longer be trained or saved.
    """
    model.eval().requires_grad_(False)
    fold_weight_norm(model)
    if channels_last:
        to_channels_last(model.dec)
    return model


def draw_slice_starts(lengths: Tensor, frames: int) -> Tensor:
    """Draw where each item's slice of `frames` begins, [B], so that it lies inside its length."""
    room = (lengths - frames + 1).clamp_min(1)
    return (torch.rand(lengths.shape[0], device=lengths.device) * room).long()


def slice_segments(x: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut [B, C, length] out of [B, C, T], item b from `starts[b]` on; one gather, no wait."""
    positions = starts[:, None] + torch.arange(length, device=starts.device)
    return x.gather(2, positions[:, None, :].expand(-1, x.shape[1], -1))


def _widen(first: int, last: int, margin: int, frames: int) -> tuple[int, int]:
    return max(0, first - margin), min(frames, last + margin)
