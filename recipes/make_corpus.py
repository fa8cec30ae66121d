"""Make the encoder's corpora: `python -m recipes.make_corpus FOLDER` (about 400 MB, minutes)."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from recipes.sentences import evaluation_sentences, training_sentences
from recipes.speech_data import (
    Espeak,
    Utterance,
    draw_espeak,
    draw_flite,
    speak_flite,
    write_corpus,
)

FLITE_VOICES = ("slt", "rms", "kal16")  # awb is kept for measuring, every sentence of it
FLITE_SENTENCES = 1100  # for each voice
ESPEAK_SENTENCES = 3200
HELD_OUT_SENTENCES = 60


def training_corpus() -> list[Utterance]:
    """Speak different sentences with every training voice."""
    return espeak_corpus(ESPEAK_SENTENCES) + flite_corpus()


def espeak_corpus(count: int) -> list[Utterance]:
    """Speak with espeak-ng's accents and variants."""
    rng, espeak = random.Random(2), Espeak()
    return [draw_espeak(text, espeak, rng) for text in training_sentences(count, seed=200)]


def flite_corpus() -> list[Utterance]:
    """Speak with flite's voices but awb."""
    rng, made = random.Random(1), []
    for number, voice in enumerate(FLITE_VOICES):
        sentences = training_sentences(FLITE_SENTENCES, seed=100 + number)
        made += [draw_flite(text, voice, rng) for text in sentences]
    return made


def held_out_corpus() -> list[Utterance]:
    """Speak sentences of another seed, and the evaluation sentences, with all four flite voices."""
    sentences = training_sentences(HELD_OUT_SENTENCES, seed=900) + evaluation_sentences()
    return [speak_flite(text, voice) for voice in (*FLITE_VOICES, "awb") for text in sentences]


def main(folder: Path) -> None:
    """Write `held_out.npz` and `training.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("held_out", held_out_corpus), ("training", training_corpus)):
        utterances = make()
        write_corpus(folder / f"{name}.npz", utterances)
        seconds = sum(len(utterance.wave) for utterance in utterances) / 16000
        print(f"{name}: {len(utterances)} sentences, {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
