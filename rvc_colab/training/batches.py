"""Clips in memory, compact, and batches gathered from them by index arithmetic alone.

B items, T frames (100 a second), C content channels, N samples, F bins. The sound is kept as one
float32 row, content as float16 rows at 50 a second, pitch at 100 a second; everything is gathered
on the device the clips lie on, spectrograms are computed there, and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rvc_colab.audio.spectral import SpectrogramConfig, magnitudes
from rvc_colab.features.pitch import coarse_pitch
from rvc_colab.models.synthesizer import SynthesizerConfig

FRAME_STEP = 32  # batches are padded to a multiple of it: few shapes, same numbers
MAX_FRAMES = 900  # of a clip, published


@dataclass(frozen=True, eq=False)
class Clip:
    """One training piece: sound [N] float32, content [T/2, C] float16, f0 [T] in Hz or None."""

    wave: np.ndarray
    content: np.ndarray
    f0_hz: np.ndarray | None
    speaker: int = 0
    name: str = ""

    def frames(self, hop: int) -> int:
        """Count the frames that sound and content both cover."""
        return min(2 * len(self.content), len(self.wave) // hop, MAX_FRAMES)


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step trains on; padded with zeros after each item's length.

    `frames_per_part` is the mean number of unpadded frames of the step's parts in all processes.
    """

    content: Tensor  # [B, T, C]
    content_lengths: Tensor  # [B]
    coarse_pitch: Tensor | None  # [B, T]
    f0_hz: Tensor | None  # [B, T]
    spec: Tensor  # [B, F, T]
    spec_lengths: Tensor  # [B]
    wave: Tensor  # [B, 1, T · hop]
    speaker_id: Tensor  # [B]
    frames_per_part: float


@dataclass(frozen=True, eq=False)
class Draw:
    """The random draws of a step for the items of a batch."""

    starts: Tensor  # [B], frame where the decoded slice begins
    posterior: Tensor | None = None  # [B, inter, T], unit normal
    source: Tensor | None = None  # [B, S, 1], unit normal


class ClipStore:
    """All clips of a run, on one device."""

    def __init__(
        self,
        clips: Sequence[Clip],
        spectrogram: SpectrogramConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spectrogram = spectrogram
        self.device = torch.device(device)
        self.lengths = [clip.frames(spectrogram.hop) for clip in clips]  # on the host: no waiting
        self.has_f0 = all(clip.f0_hz is not None for clip in clips)
        self._wave = self._joined([torch.from_numpy(clip.wave) for clip in clips])
        self._content = self._joined([torch.from_numpy(clip.content) for clip in clips])
        self._wave_start, self._samples = self._layout([len(clip.wave) for clip in clips])
        self._content_start, self._rows = self._layout([len(clip.content) for clip in clips])
        self._frames = torch.tensor(self.lengths, device=self.device)
        self._speaker = torch.tensor([clip.speaker for clip in clips], device=self.device)
        if self.has_f0:
            pitch = [_fitted(clip.f0_hz, frames) for clip, frames in zip(clips, self.lengths)]
            self._f0_start, _ = self._layout(self.lengths)
            self._f0 = self._joined([torch.from_numpy(hz) for hz in pitch])
            self._coarse = self._joined(
                [torch.from_numpy(coarse_pitch(hz)).to(torch.uint8) for hz in pitch]
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).to(self.device)

    def _layout(self, counts: list[int]) -> tuple[Tensor, Tensor]:
        """Return where each clip begins in the joined row, and its length."""
        count = torch.tensor(counts, dtype=torch.int64)
        return (count.cumsum(0) - count).to(self.device), count.to(self.device)

    def nbytes(self) -> int:
        """Count the bytes that the clips take."""
        held = [self._wave, self._content, *([self._f0, self._coarse] if self.has_f0 else [])]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def padded_frames(self, indices: Sequence[int], least: int) -> int:
        """Return the length that a batch of these clips is padded to: no shorter than `least`."""
        longest = max(least, *(self.lengths[i] for i in indices))
        return -(-longest // FRAME_STEP) * FRAME_STEP

    def gather(
        self, indices: Sequence[int], frames: int, frames_per_part: float | None = None
    ) -> Batch:
        """Gather clips into a batch padded to `frames`."""
        item = torch.tensor(list(indices), dtype=torch.int64).to(self.device, non_blocking=True)
        length = self._frames[item]
        time = torch.arange(frames, device=self.device)
        inside = time[None, :] < length[:, None]  # [B, T]
        row = (
            torch.minimum(time[None, :] // 2, self._rows[item, None] - 1)
            + self._content_start[item, None]
        )
        content = self._content[row].float() * inside[..., None]
        coarse, f0_hz = None, None
        if self.has_f0:
            at = torch.minimum(time[None, :], length[:, None] - 1) + self._f0_start[item, None]
            f0_hz = self._f0[at] * inside
            coarse = self._coarse[at].long() * inside
        wave, spec = self._sound(item, frames, inside)
        total = float(sum(self.lengths[i] for i in indices))
        return Batch(
            content,
            length,
            coarse,
            f0_hz,
            spec,
            length,
            wave,
            self._speaker[item],
            frames_per_part or total,
        )

    def _sound(self, item: Tensor, frames: int, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sound [B, 1, T · hop] and its spectrogram, each clip mirrored at its own ends.

        That is the spectrogram of the unpadded clip, computed for the whole batch at once.
        """
        sizes = self.spectrogram
        pad, hop, samples = sizes.padding, sizes.hop, self._samples[item, None]
        at = torch.arange(-pad, frames * hop + pad, device=self.device)[None, :].abs()
        at = torch.where(at < samples, at, 2 * (samples - 1) - at).clamp_min(0)
        mirrored = self._wave[at + self._wave_start[item, None]]
        spec = magnitudes(mirrored, sizes) * inside[:, None, :]
        last = mirrored.shape[1] - pad
        wave = mirrored[:, pad:last] * inside.repeat_interleave(hop, dim=1)
        return wave.unsqueeze(1), spec


def _fitted(f0_hz: np.ndarray | None, frames: int) -> np.ndarray:
    """Cut or fill up pitch to `frames`; what is missing counts as unvoiced."""
    assert f0_hz is not None
    hz = np.asarray(f0_hz, dtype=np.float32)[:frames]
    return np.pad(hz, (0, frames - len(hz)))


def draw_for(
    lengths: Tensor, frames: int, config: SynthesizerConfig, generator: torch.Generator
) -> Draw:
    """Draw a batch's slice starts [B] and noise; the same generator state gives the same draws.

    `lengths` [B] are those of all items of the step, `frames` the padded length.
    """
    device, count = lengths.device, len(lengths)
    room = (lengths - config.segment_frames + 1).clamp_min(1)
    starts = (torch.rand(count, generator=generator, device=device) * room).long()
    posterior = torch.randn(
        count, config.inter_channels, frames, generator=generator, device=device
    )
    source = None
    if config.has_f0:
        source = torch.randn(count, config.segment_samples, 1, generator=generator, device=device)
    return Draw(starts, posterior, source)


def part_of(draw: Draw, first: int, last: int) -> Draw:
    """Return the draws of the items first..last (half open)."""
    cut = slice(first, last)
    posterior = None if draw.posterior is None else draw.posterior[cut]
    return Draw(draw.starts[cut], posterior, None if draw.source is None else draw.source[cut])
