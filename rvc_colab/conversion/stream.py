"""One sound through the voice as a stream: blocks in, blocks out, of exactly the right length.

read → 16 kHz, high-pass → chunks → voice → cross-fades → envelope mix → output rate. Holds one
chunk, its context and about two seconds that wait for their level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from rvc_colab.audio.filters import StreamResampler, highpass_zero_phase
from rvc_colab.config import FRAMES_PER_SECOND, ConversionConfig
from rvc_colab.conversion.chunking import Chunk, Stitcher, Timeline, plan_chunks
from rvc_colab.conversion.hearing import Highpass, device_highpass, hear
from rvc_colab.conversion.levels import EnvelopeStream
from rvc_colab.conversion.noise import Noise
from rvc_colab.conversion.pipeline import Networks, Pipeline
from rvc_colab.conversion.stages import StageClock
from rvc_colab.errors import ConfigError, VoiceError
from rvc_colab.features.pitch import F0Track
from rvc_colab.progress import Progress


@dataclass
class Conversion:
    """One conversion in progress: what it needs, and what it counted."""

    networks: Networks
    config: ConversionConfig
    timeline: Timeline
    noise: Noise
    clock: StageClock
    progress: Progress
    f0_track: F0Track | None = None
    chunks: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        speakers = self.networks.voice.config.speakers
        if self.config.speaker >= speakers:
            raise ConfigError(
                f"The voice has no speaker {self.config.speaker}: it has {speakers}.",
                f"Choose --speaker 0 to {speakers - 1}." if speakers > 1 else "Use --speaker 0.",
            )

    def blocks(self, source: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the converted sound, together `timeline.written` samples at the output rate.

        `source` are mono float32 blocks, together `timeline.samples` at `timeline.rate`.
        """
        line = self.timeline
        resampler = StreamResampler(line.voice_rate, line.output_rate)
        given = 0
        last = np.zeros(1, dtype=np.float32)
        for block in self._levelled(source):
            with self.clock("resampling"):
                ready = resampler.process(block)[: line.written - given]
            given += len(ready)
            if len(ready):
                last = ready[-1:]
                yield ready
        rest = resampler.finish()[: line.written - given]
        # The voice's length was rounded to its rate: a sample may be missing at the other one.
        tail = np.concatenate([last, rest])
        yield np.pad(tail, (0, line.written - given - len(rest)), mode="edge")[1:]

    def _levelled(self, source: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the voice's sound at its own rate, `timeline.voiced` samples, levels mixed."""
        line, config = self.timeline, self.config
        levels = EnvelopeStream(line.heard, line.voiced, line.voice_rate, config.envelope_mix)
        heard = _told(hear(source, line.rate, line.heard, self._highpass()), levels)
        chunks = plan_chunks(heard, line, config.chunk_seconds, config.context_seconds)
        pipeline = Pipeline(self.networks, config, self.noise, self.clock, self.f0_track)
        stitcher = Stitcher(line.hop)
        given = 0
        self.progress.stage("Converting", -(-line.frames // FRAMES_PER_SECOND))
        while (chunk := self._next(chunks)) is not None:
            wave = pipeline.convert(chunk)
            if not np.isfinite(wave).all():
                raise VoiceError(
                    f"The voice gave samples that are no numbers near {_seconds(chunk)}.",
                    "Use 32-bit precision (--precision fp32); if it stays, the voice is damaged.",
                )
            with self.clock("joining"):
                joined = stitcher.push(chunk, wave)[: line.voiced - given]
                given += len(joined)
                mixed = levels.process(joined)
            self.chunks += 1
            yield mixed
            self.progress.advance(_whole_seconds(chunk.last) - _whole_seconds(chunk.first))

    def _next(self, chunks: Iterator[Chunk]) -> Chunk | None:
        self.progress.check()
        with self.clock("listening"):
            return next(chunks, None)

    def _highpass(self) -> Highpass:
        device = self.networks.device
        wanted = self.config.gpu_filter and device.type != "cpu"
        return device_highpass(device) if wanted else highpass_zero_phase


def _told(blocks: Iterator[np.ndarray], levels: EnvelopeStream) -> Iterator[np.ndarray]:
    for block in blocks:
        levels.hear(block)
        yield block


def _whole_seconds(frame: int) -> int:
    return -(-frame // FRAMES_PER_SECOND)


def _seconds(chunk: Chunk) -> str:
    return f"{chunk.first / FRAMES_PER_SECOND:.1f} s"
