"""The encoder's corpora on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from recipes.corpus import read_corpus, write_corpus
from recipes.reference import Targets
from recipes.speech_data import Utterance
from rvc_colab.models.tiny_encoder import PICTURE


def test_a_corpus_survives_the_disk(tmp_path: Path) -> None:
    made = []
    for samples, frames in ((900, 2), (2000, 6)):
        aim = Targets(
            np.arange(frames, dtype=np.uint8),
            np.full((frames, PICTURE), samples, np.float16),
            np.arange(frames) % 2 == 0,
        )
        made.append((Utterance(np.arange(samples, dtype=np.int16), [(0.05, 3)], "v"), aim))
    write_corpus(tmp_path / "c.npz", made)
    back = read_corpus(tmp_path / "c.npz")
    assert back.voices == ["v", "v"]
    for (spoken, aim), wave, read in zip(made, back.waves, back.targets, strict=True):
        assert np.array_equal(spoken.wave, wave)
        assert np.array_equal(aim.labels, read.labels)
        assert np.array_equal(aim.pictures, read.pictures)
        assert np.array_equal(aim.known, read.known)
