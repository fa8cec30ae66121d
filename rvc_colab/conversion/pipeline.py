"""One stretch of sound into the voice: content, pitch, retrieval, protection, prior, flow, sound.

What is handed in is heard with real sound around it; what comes out are the kept frames. Between
stretches only the phase of the sine is carried, and noise is read by absolute position, so that a
conversion in chunks follows the one in a single piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from rvc_colab.config import CONTENT_RATE, FRAMES_PER_SECOND, ConversionConfig
from rvc_colab.conversion.chunking import Chunk
from rvc_colab.conversion.noise import Noise
from rvc_colab.conversion.stages import StageClock
from rvc_colab.errors import EncoderError
from rvc_colab.features.content import ContentEncoder
from rvc_colab.features.pitch import F0Track, coarse_pitch, interpolate_unvoiced, transpose
from rvc_colab.features.retrieval import RetrievalIndex, blend
from rvc_colab.models.source import phase_at_frames
from rvc_colab.models.synthesizer import PRIOR_SCALE, InferOptions, SynthesizerConfig

PROTECT_OFF = 0.5


class Voicing(Protocol):
    """Finds the pitch: Hz per 10 ms frame of a 16 kHz wave, 0 where unvoiced."""

    name: str

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 float32 `[N // 160]`."""


class Voice(Protocol):
    """What conversion needs of a synthesizer."""

    config: SynthesizerConfig

    def infer(
        self,
        content: torch.Tensor,
        lengths: torch.Tensor,
        coarse_pitch: torch.Tensor | None,
        f0_hz: torch.Tensor | None,
        speaker_id: torch.Tensor,
        options: InferOptions | None = None,
    ) -> torch.Tensor:
        """Return sound [B, 1, N] of the kept frames; see `models.synthesizer.Synthesizer`."""


@dataclass
class Networks:
    """The loaded parts of a conversion; each can be exchanged for a stand-in."""

    voice: Voice
    encoder: ContentEncoder
    f0: Voicing | None
    index: RetrievalIndex | None
    device: torch.device


def protect_content(
    mixed: torch.Tensor, own: torch.Tensor, f0_hz: torch.Tensor, protect: float
) -> torch.Tensor:
    """Give unvoiced frames back their own content: `protect` of the mixed one stays.

    Content [T, C] with and without retrieval, `f0_hz` [T]; frames below 1 Hz count as unvoiced.
    """
    share = torch.where(f0_hz < 1, protect, 1.0).to(mixed.dtype).unsqueeze(-1)
    return mixed * share + own * (1 - share)


class Pipeline:
    """Convert the chunks of one sound, in order."""

    def __init__(
        self,
        networks: Networks,
        config: ConversionConfig,
        noise: Noise,
        clock: StageClock,
        f0_track: F0Track | None = None,
    ) -> None:
        self._networks, self._config, self._noise = networks, config, noise
        self._clock, self._track = clock, f0_track
        self._phase: torch.Tensor | None = None  # of the sine where the next chunk begins, cycles

    @torch.no_grad()
    def convert(self, chunk: Chunk) -> np.ndarray:
        """Return float32 sound at the voice's rate of the frames that `chunk.keep` names."""
        networks, voice = self._networks, self._networks.voice.config
        with self._clock("content"):
            own = self._content(chunk)
        frames = min(2 * own.shape[0], len(chunk.stretch) * FRAMES_PER_SECOND // CONTENT_RATE)
        with self._clock("f0"):
            f0_hz = self._f0(chunk, frames) if voice.has_f0 else None
        with self._clock("retrieval"):
            content = self._retrieved(own, f0_hz, frames)
        with self._clock("synthesis"):
            lengths = torch.tensor([frames], device=networks.device)
            speaker = torch.tensor([self._config.speaker], device=networks.device)
            wave = networks.voice.infer(
                content[None],
                lengths,
                None if f0_hz is None else self._coarse(f0_hz),
                None if f0_hz is None else f0_hz[None],
                speaker,
                self._options(chunk, frames, f0_hz),
            )
            first, last = chunk.keep
            return wave.reshape(-1)[: (last - first) * voice.hop].float().cpu().numpy()

    def _content(self, chunk: Chunk) -> torch.Tensor:
        wave = torch.from_numpy(chunk.stretch).to(self._networks.device)
        content = self._networks.encoder.encode(wave, self._networks.voice.config.version)
        if not torch.isfinite(content).all():
            raise EncoderError(
                f"The content encoder {self._networks.encoder.name} gave values that are no "
                "numbers.",
                "Use 32-bit precision: --precision fp32.",
            )
        return content

    def _f0(self, chunk: Chunk, frames: int) -> torch.Tensor:
        """Return f0 [frames] in Hz as it is to be sung."""
        estimate = self._networks.f0
        if estimate is None:
            f0_hz = np.zeros(frames)
        else:
            f0_hz = _exactly(np.asarray(estimate(chunk.stretch), dtype=np.float64), frames)
        if self._config.interpolate_f0:
            f0_hz = interpolate_unvoiced(f0_hz)
        f0_hz = transpose(f0_hz, self._config.transpose)
        if self._track is not None:
            f0_hz = self._track.overlay(f0_hz, chunk.begin / FRAMES_PER_SECOND)
        # float32 only now: the phase sums a thousand cycles and more.
        return torch.from_numpy(f0_hz.astype(np.float32)).to(self._networks.device)

    def _coarse(self, f0_hz: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(coarse_pitch(f0_hz.cpu().numpy()))[None].to(f0_hz.device)

    def _retrieved(
        self, own: torch.Tensor, f0_hz: torch.Tensor | None, frames: int
    ) -> torch.Tensor:
        """Return content [frames, C]: retrieval at 50 frames a second, then twice, then protect."""
        index, config = self._networks.index, self._config
        if index is None or config.index_rate == 0:
            return _twice(own, frames)
        if config.gpu_retrieval:
            mixed = index.retrieve(own, config.index_rate)
        else:
            scores, rows = index.search_faiss(own)
            near = index.vectors[rows].to(own.device)
            mixed = blend(own.float(), near, scores.to(own.device), config.index_rate).to(own.dtype)
        content = _twice(mixed, frames)
        if f0_hz is None or config.protect >= PROTECT_OFF:
            return content
        return protect_content(content, _twice(own, frames), f0_hz, config.protect)

    def _options(self, chunk: Chunk, frames: int, f0_hz: torch.Tensor | None) -> InferOptions:
        voice, device = self._networks.voice.config, self._networks.device
        prior = self._noise.prior(chunk.begin, frames, voice.inter_channels)
        prior *= self._config.noise_scale / PRIOR_SCALE
        options: dict[str, Any] = {
            "prior_noise": torch.from_numpy(prior)[None].to(device),
            "keep": chunk.decoded(frames),
        }
        if f0_hz is not None:
            source = self._noise.source(chunk.begin, frames, voice.hop)
            options["source_noise"] = torch.from_numpy(source)[None, :, None].to(device)
            options["start_phase"] = self._carry_phase(chunk, f0_hz)
        return InferOptions(**options)

    def _carry_phase(self, chunk: Chunk, f0_hz: torch.Tensor) -> torch.Tensor:
        """Return the phase [1] at the stretch's start that continues the sine where chunks meet.

        MPS knows no float64, so the phases are summed on the CPU.
        """
        phases = phase_at_frames(f0_hz[None].cpu())[0]
        start = torch.zeros((), dtype=phases.dtype)
        if self._phase is not None:
            start = (self._phase - phases[chunk.first - chunk.begin]).remainder(1.0)
        after = min(chunk.last - chunk.begin, len(phases) - 1)
        self._phase = (start + phases[after]).remainder(1.0)
        return start[None].to(f0_hz.device)


def _twice(content: torch.Tensor, frames: int) -> torch.Tensor:
    """Repeat content [T, C] at 50 frames a second for the voice's 100: [frames, C]."""
    return content.repeat_interleave(2, dim=0)[:frames]


def _exactly(f0_hz: np.ndarray, frames: int) -> np.ndarray:
    """Cut f0 to `frames`, or hold its last value: estimators end a frame early or late."""
    if len(f0_hz) >= frames or len(f0_hz) == 0:
        return f0_hz[:frames] if len(f0_hz) else np.zeros(frames)
    return np.pad(f0_hz, (0, frames - len(f0_hz)), mode="edge")
