"""Make the encoder's corpora: `python -m recipes.make_corpus FOLDER` (about 1 GB, minutes)."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from recipes.corpus import write_corpus
from recipes.festival_speech import speak_ked
from recipes.reference import Targets, with_reference
from recipes.sentences import evaluation_sentences, training_sentences
from recipes.speech_data import Espeak, Utterance, draw_espeak, draw_flite, speak_flite

FLITE_VOICES = ("slt", "rms", "kal16")  # awb is kept for measuring, every sentence of it
FLITE_SENTENCES = 1000  # for each voice
KED_SENTENCES = 1000
ESPEAK_SENTENCES = 3200
HELD_OUT_SENTENCES = 40

Labelled = list[tuple[Utterance, Targets]]


def training_corpus() -> Labelled:
    """Speak different sentences with every training voice."""
    return flite_corpus() + ked_corpus() + espeak_corpus()


def espeak_corpus() -> Labelled:
    """Speak with espeak-ng's accents and variants."""
    rng, espeak = random.Random(2), Espeak()
    texts = training_sentences(ESPEAK_SENTENCES, seed=200)
    return with_reference(texts, [draw_espeak(text, espeak, rng) for text in texts])


def ked_corpus() -> Labelled:
    """Speak with festival's ked."""
    texts = training_sentences(KED_SENTENCES, seed=300)
    return with_reference(texts, speak_ked(texts, random.Random(3)))


def flite_corpus() -> Labelled:
    """Speak with flite's voices but awb."""
    rng, made = random.Random(1), []
    for number, voice in enumerate(FLITE_VOICES):
        texts = training_sentences(FLITE_SENTENCES, seed=100 + number)
        made += with_reference(texts, [draw_flite(text, voice, rng) for text in texts])
    return made


def held_out_corpus() -> Labelled:
    """Speak sentences of another seed, and the evaluation sentences, with all four flite voices."""
    texts = training_sentences(HELD_OUT_SENTENCES, seed=900) + evaluation_sentences()
    made = []
    for voice in (*FLITE_VOICES, "awb"):
        made += with_reference(texts, [speak_flite(text, voice) for text in texts])
    return made


def main(folder: Path) -> None:
    """Write `held_out.npz` and `training.npz` into `folder`; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("held_out", held_out_corpus), ("training", training_corpus)):
        if (folder / f"{name}.npz").exists():
            print(f"{name}: there already")
            continue
        made = make()
        write_corpus(folder / f"{name}.npz", made)
        seconds = sum(len(utterance.wave) for utterance, _ in made) / 16000
        known = np.concatenate([aim.known for _, aim in made]).mean()
        print(f"{name}: {len(made)} sentences, {seconds / 60:.1f} min, {known:.1%} paired")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
