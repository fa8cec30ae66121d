"""Make the demo voice's recordings: `python -m recipes.slt_speech FOLDER --minutes 14`.

flite's slt says seeded sentences, none of them for measuring, in her own pitch and tempo and in
near ones. `--clip` writes the shipped source clip instead, spoken by rms.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import soundfile

from recipes.sentences import training_sentences
from recipes.speech_data import RATE, Utterance, speak_flite

SEED = 4000  # not a seed of the encoder's sentences
PITCH_HZ = (150.0, 215.0)  # of most sentences; slt's own mean is near 170
HIGH_LOW_HZ = (110.0, 260.0)  # of a fifth, so that the voice can follow other speakers' melodies
CLIP_TEXT = (
    "Every voice is a little different, and that is a pleasure to hear. "
    "Now the same words come back in another voice."
)
CLIP = Path(__file__).parent.parent / "rvc_colab" / "assets" / "clip.wav"


def recordings(minutes: float, seed: int = SEED) -> list[Utterance]:
    """Speak different sentences until their sum reaches so many minutes."""
    rng, made, seconds = random.Random(seed), [], 0.0
    for text in training_sentences(int(minutes * 60), seed):
        if seconds >= 60 * minutes:
            break
        low, high = PITCH_HZ if rng.random() < 0.8 else HIGH_LOW_HZ
        pitch = round(rng.uniform(low, high), 1) if rng.random() < 0.7 else 0.0
        made.append(speak_flite(text, "slt", round(rng.uniform(0.95, 1.15), 3), pitch))
        seconds += len(made[-1].wave) / RATE
    return made


def write_recordings(folder: Path, minutes: float) -> int:
    """Write slt_0001.wav … into `folder`, 16 kHz mono; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    made = recordings(minutes)
    for number, utterance in enumerate(made, 1):
        soundfile.write(folder / f"slt_{number:04d}.wav", utterance.wave, RATE)
    return len(made)


def write_clip(target: Path = CLIP) -> float:
    """Write the shipped clip at −3 dB peak; return its seconds."""
    wave = speak_flite(CLIP_TEXT, "rms").wave.astype(np.float32)
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, wave * (0.708 / np.abs(wave).max()), RATE, subtype="PCM_16")
    return len(wave) / RATE


def main() -> None:
    """Write the recordings, or the clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=14)
    parser.add_argument("--clip", action="store_true")
    given = parser.parse_args()
    if given.clip:
        print(f"{CLIP}: {write_clip():.1f} s")
    else:
        if given.folder is None:
            parser.error("a folder for the recordings is needed")
        print(f"{write_recordings(given.folder, given.minutes)} recordings in {given.folder}")


if __name__ == "__main__":
    main()
