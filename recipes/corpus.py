"""The encoder's corpora on disk: sounds, what to say of each frame, and who spoke."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.reference import Targets
from recipes.speech_data import Utterance


@dataclass(frozen=True)
class Corpus:
    """Waves (int16), targets and voice names of a saved corpus."""

    waves: list[np.ndarray]
    targets: list[Targets]
    voices: list[str]


def write_corpus(path: Path, made: list[tuple[Utterance, Targets]]) -> None:
    """Save sentences and their targets as one npz, whole or not at all."""
    aims = [aim for _, aim in made]
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        waves=np.concatenate([spoken.wave for spoken, _ in made]),
        wave_lengths=np.array([len(spoken.wave) for spoken, _ in made]),
        labels=np.concatenate([aim.labels for aim in aims]),
        pictures=np.concatenate([aim.pictures for aim in aims]),
        known=np.concatenate([aim.known for aim in aims]),
        frames=np.array([len(aim.labels) for aim in aims]),
        voices=np.array([spoken.voice for spoken, _ in made]),
    )
    os.replace(partial, path)


def read_corpus(path: Path) -> Corpus:
    """Read what `write_corpus` saved."""
    with np.load(path) as data:
        waves = np.split(data["waves"], np.cumsum(data["wave_lengths"])[:-1])
        ends = np.cumsum(data["frames"])[:-1]
        parts = [np.split(data[name], ends) for name in ("labels", "pictures", "known")]
        aims = [Targets(*aim) for aim in zip(*parts, strict=True)]
        return Corpus(waves, aims, [str(voice) for voice in data["voices"]])
