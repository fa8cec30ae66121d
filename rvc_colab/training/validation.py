"""Measure a voice on recordings that it is not trained on: how far, how well in tune, how likely.

Whole recordings are kept apart. The voice speaks them from their content and pitch, always with
the same noise, so that two moments of a run differ by the voice alone; no random draw of the
training is touched.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvc_colab.audio.filters import resample
from rvc_colab.audio.spectral import log_mel, log_mel_from_wave
from rvc_colab.config import CONTENT_RATE, TrainingConfig
from rvc_colab.errors import RVCError
from rvc_colab.models.synthesizer import InferOptions, Synthesizer, TrainingNoise
from rvc_colab.training.batches import Batch, ClipStore, draw_for
from rvc_colab.training.losses import kl_loss, mel_loss
from rvc_colab.training.preprocess import Dataset, Recording
from rvc_colab.training.state import Position

_log = logging.getLogger(__name__)

PitchOf = Callable[[np.ndarray], np.ndarray]

# One score of three measures, weighed so that each moves it by a few tenths over a run.
KL_WEIGHT, F0_WEIGHT = 0.1, 0.5
KEPT_OF_OLD = 0.6  # of the smoothed score at each measurement
PATIENCE = 8  # measurements without a better smoothed score …
RISE = 0.01  # … and this share above the best one: overtraining
LEAST_VOICED = 50  # frames voiced in both, below which a correlation says nothing
SHARE_OF_TIME = 0.1  # that measuring may take at most


@dataclass(frozen=True)
class Measures:
    """Distances of spoken from real held-out recordings.

    `mel`: mean distance of log-mel spectra; `kl`: divergence of posterior and prior per frame, None
    where no posterior is trained; `f0_correlation`: of log pitch, where both are voiced; None
    without pitch or too little of it.
    """

    mel: float
    kl: float | None
    f0_correlation: float | None = None

    @property
    def score(self) -> float:
        """Return one number of all, lower is better."""
        off_pitch = 0.0 if self.f0_correlation is None else 1.0 - self.f0_correlation
        return self.mel + KL_WEIGHT * (self.kl or 0.0) + F0_WEIGHT * off_pitch

    def numbers(self) -> dict[str, float]:
        """Return the measures as the diary names them."""
        named = {"validation/mel": self.mel}
        if self.kl is not None:
            named["validation/kl"] = self.kl
        if self.f0_correlation is not None:
            named["validation/f0_correlation"] = self.f0_correlation
        return named | {"validation/score": self.score}


def split_recordings(
    dataset: Dataset, config: TrainingConfig
) -> tuple[list[Recording], list[Recording]]:
    """Divide the recordings into those trained on and those kept apart to measure with.

    Chosen by the hash of their sound: adding recordings moves none from one side to the other.
    """
    usable = sorted(
        (r for r in dataset.recordings if r.pieces), key=lambda recording: recording.sha256
    )
    count = config.validation_recordings
    if count is None:
        count = min(8, len(usable) // 20)
    count = min(count, len(usable) - 1)
    return usable[count:], usable[:count]


class Validator:
    """Measure a voice on the clips that were kept apart.

    `open_pitch` loads an estimator when it is first needed; where that fails, pitch is not
    measured and `warnings` says so.
    """

    def __init__(
        self,
        clips: ClipStore,
        seed: int,
        open_pitch: Callable[[], PitchOf] | None = None,
        from_prior: bool = False,
    ) -> None:
        self.clips, self.seed, self.from_prior = clips, seed, from_prior
        self.warnings: list[str] = []
        self._open_pitch = open_pitch if clips.has_f0 else None
        self._pitch: PitchOf | None = None

    @torch.no_grad()
    def measure(self, model: Synthesizer) -> Measures:
        """Speak every clip and compare."""
        training = model.training
        model.eval()
        try:
            mel, divergence, frames = 0.0, 0.0, 0
            heard: list[tuple[np.ndarray, np.ndarray]] = []
            for number, length in enumerate(self.clips.lengths):
                batch = self.clips.gather([number], length)
                wave = self._spoken(model, batch, length)
                spectrum = self.clips.spectrogram
                real = log_mel(batch.spec, spectrum)
                fake = log_mel_from_wave(wave.squeeze(1), spectrum)
                mel += float(mel_loss(real, fake[..., : real.shape[-1]])) * length
                if not self.from_prior:
                    divergence += float(self._divergence(model, batch, length))
                frames += length
                heard += self._pitches(batch, wave, model.config.sample_rate)
        finally:
            model.train(training)
        kl = None if self.from_prior else divergence / frames
        return Measures(mel / frames, kl, correlation(heard))

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.clips.device).manual_seed(self.seed)

    def _spoken(self, model: Synthesizer, batch: Batch, frames: int) -> Tensor:
        generator, device = self._generator(), self.clips.device
        channels, samples = model.config.inter_channels, frames * model.config.hop
        options = InferOptions(
            prior_noise=torch.randn(1, channels, frames, generator=generator, device=device),
            source_noise=torch.randn(1, samples, 1, generator=generator, device=device),
        )
        content, pitch = (batch.content, batch.content_lengths), (batch.coarse_pitch, batch.f0_hz)
        return model.infer(*content, *pitch, batch.speaker_id, options).float()

    def _divergence(self, model: Synthesizer, batch: Batch, frames: int) -> Tensor:
        draw = draw_for(batch.spec_lengths, frames, model.config, self._generator())
        out = model(batch, draw.starts, TrainingNoise(draw.posterior, draw.source))
        return kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.spec_mask)

    def _pitches(
        self, batch: Batch, wave: Tensor, rate: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the pitch that was asked for and the one that is heard, in Hz per frame."""
        if self._open_pitch is not None:
            opening, self._open_pitch = self._open_pitch, None
            try:
                self._pitch = opening()
            except RVCError as error:
                self.warnings.append(f"Pitch is not measured: {error.message}")
                _log.warning("%s", self.warnings[-1])
        if self._pitch is None or batch.f0_hz is None:
            return []
        sound = wave[0, 0].cpu().numpy()
        heard = self._pitch(resample(sound, rate, CONTENT_RATE).astype(np.float32))
        asked = batch.f0_hz[0].cpu().numpy()
        frames = min(len(asked), len(heard))
        return [(asked[:frames], np.asarray(heard)[:frames])]


def correlation(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Correlate log pitch over the frames voiced in both of each pair; None if that says nothing.

    Nothing is said where too few frames are voiced or the pitch that was asked for stands still.
    """
    if not pairs:
        return None
    asked, heard = (np.concatenate(side) for side in zip(*pairs))
    voiced = (asked > 0) & (heard > 0)
    if int(voiced.sum()) < LEAST_VOICED:
        return None
    one, two = np.log(asked[voiced]), np.log(heard[voiced])
    if one.std() < 1e-3:
        return None
    if two.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def judge(position: Position, score: float) -> bool:
    """Note a score; True when the smoothed score is the best one so far.

    A score that is no number counts as worse than all and leaves the smoothed one alone.
    """
    position.measured_step = position.step
    if not math.isfinite(score):
        position.worse += 1
        return False
    old = position.smoothed_score
    position.smoothed_score = (
        score if old is None else KEPT_OF_OLD * old + (1 - KEPT_OF_OLD) * score
    )
    if position.best_score is None or position.smoothed_score < position.best_score:
        position.best_score, position.best_step = position.smoothed_score, position.step
        position.best_epoch, position.worse = position.epoch, 0
        return True
    position.worse += 1
    return False


def overtrained(position: Position) -> bool:
    """Tell whether held-out recordings have sounded worse for long."""
    best, now = position.best_score, position.smoothed_score
    if best is None or now is None:
        return False
    return position.worse >= PATIENCE and now > best * (1 + RISE)


def in_words(position: Position) -> list[str]:
    """Say what the measurements tell of a run; nothing when there were none."""
    if not overtrained(position):
        return []
    return [
        f"Held-out recordings sound worse since step {position.best_step} (epoch "
        f"{position.best_epoch}): the voice overtrains. That snapshot is kept as the best one."
    ]


def next_after(seconds: float, minutes: float) -> float:
    """Return how long to wait after a measurement that took `seconds`; `minutes` 0: not at all."""
    return max(minutes * 60, seconds / SHARE_OF_TIME) if minutes > 0 else 0.0


def measure_now(
    validator: Validator, model: Any, position: Position
) -> tuple[dict[str, float], bool]:
    """Measure and judge: (numbers for the diary, whether this is the best so far)."""
    measures = validator.measure(model)
    best = judge(position, measures.score)
    numbers = measures.numbers()
    if position.smoothed_score is not None:
        numbers["validation/smoothed"] = position.smoothed_score
    return numbers, best
