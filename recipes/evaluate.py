"""Measure a voice: `python -m recipes.evaluate --voice demo` (needs the extra `eval` and flite).

Ten sentences not trained on, spoken by flite's rms, kal16 and awb, are converted through the public
API and compared with the real slt: speaker similarity (Resemblyzer), words (pocketsphinx), pitch.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from recipes.sentences import evaluation_sentences
from recipes.speech_data import RATE, speak_flite

SOURCES = ("rms", "kal16", "awb")
TARGET = "slt"
TOLERANCE = 0.03  # of the asked pitch; half a semitone
DIGITS = 3


@dataclass(frozen=True)
class Spoken:
    """Recordings of the sentences by one voice: float32 waves at 16 kHz, in order."""

    waves: list[np.ndarray]

    @classmethod
    def by_flite(cls, voice: str, sentences: list[str]) -> Spoken:
        """Speak the sentences as flite does."""
        return cls([speak_flite(text, voice).wave / np.float32(32768) for text in sentences])

    def write(self, folder: Path) -> None:
        """Write 00.wav, 01.wav …"""
        folder.mkdir(parents=True, exist_ok=True)
        for number, wave in enumerate(self.waves):
            soundfile.write(folder / f"{number:02d}.wav", wave, RATE)

    @classmethod
    def read(cls, folder: Path) -> Spoken:
        """Read what `write`, or a conversion of it, left."""
        return cls([_read_at_rate(path) for path in sorted(folder.glob("*.wav"))])


class Measures:
    """The judges: who speaks, what is said, and at which pitch."""

    def __init__(self, sentences: list[str]) -> None:
        from pocketsphinx import Decoder
        from resemblyzer import VoiceEncoder

        from rvc_colab.features.f0 import load_f0_estimator

        self._sentences = sentences
        self._speaker = VoiceEncoder("cpu", verbose=False)
        self._words = Decoder(samprate=RATE, loglevel="FATAL")
        self.f0_hz = load_f0_estimator("auto")
        self._real = self.embeddings(Spoken.by_flite(TARGET, sentences))

    def embeddings(self, spoken: Spoken) -> np.ndarray:
        """Return unit vectors [utterances, 256]."""
        from resemblyzer import preprocess_wav

        return np.stack(
            [self._speaker.embed_utterance(preprocess_wav(w, RATE)) for w in spoken.waves]
        )

    def similarity(self, spoken: Spoken) -> tuple[float, float]:
        """Return the mean cosine to each real recording of other sentences, and to their mean."""
        embeddings = self.embeddings(spoken)
        pairs = embeddings @ self._real.T
        others = ~np.eye(len(pairs), dtype=bool)
        centre = self._real.mean(0)
        to_mean = embeddings @ centre / np.linalg.norm(centre)
        return float(pairs[others].mean()), float(to_mean.mean())

    def similarity_to_mean(self, wave: np.ndarray) -> float:
        """Return the cosine of one wave to the mean of the real recordings."""
        centre = self._real.mean(0)
        return float(self.embeddings(Spoken([wave]))[0] @ centre / np.linalg.norm(centre))

    def word_errors(self, spoken: Spoken) -> float:
        """Return the word error rate: edits over all words."""
        edits = words = 0
        for wave, text in zip(spoken.waves, self._sentences, strict=True):
            asked = re.findall(r"[a-z']+", text.lower())
            edits += edit_distance(asked, self.heard(wave))
            words += len(asked)
        return edits / words

    def heard(self, wave: np.ndarray) -> list[str]:
        """Return the words that the recogniser hears in a wave at 16 kHz."""
        padded = np.pad(wave, RATE // 4)
        self._words.start_utt()
        self._words.process_raw(
            (padded.clip(-1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True
        )
        self._words.end_utt()
        guess = self._words.hyp()
        return guess.hypstr.split() if guess else []

    def pitch(self, asked: list[np.ndarray], spoken: Spoken) -> tuple[float, float]:
        """Return the share near the asked pitch: of frames voiced in both, of all asked ones."""
        near = both = all_asked = 0
        for wanted, wave in zip(asked, spoken.waves, strict=True):
            found = self.f0_hz(wave)
            frames = min(len(wanted), len(found))
            wanted, found = wanted[:frames], found[:frames]
            voiced = (wanted > 0) & (found > 0)
            off = np.abs(found[voiced] / wanted[voiced] - 1)
            near += int((off <= TOLERANCE).sum())
            both += int(voiced.sum())
            all_asked += int((wanted > 0).sum())
        return near / max(1, both), near / max(1, all_asked)


def edit_distance(asked: list[str], heard: list[str]) -> int:
    """Return the fewest insertions, deletions and substitutions between two lists of words."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(asked, 1):
        above, row = row, [number]
        for column, other in enumerate(heard, 1):
            swap = above[column - 1] + (word != other)
            row.append(min(swap, above[column] + 1, row[-1] + 1))
    return row[-1]


def median_hz(contours: list[np.ndarray]) -> float:
    """Return the median over all voiced frames."""
    everything = np.concatenate(contours)
    return float(np.median(everything[everything > 0]))


def evaluate(voice: str, sources: tuple[str, ...], settings: dict[str, object]) -> dict[str, dict]:
    """Convert and measure; return figures for each source and for the real target."""
    import rvc_colab

    sentences = evaluation_sentences()
    measures = Measures(sentences)
    real = Spoken.by_flite(TARGET, sentences)
    pair, mean = measures.similarity(real)
    target_hz = median_hz([measures.f0_hz(wave) for wave in real.waves])
    table = {
        f"{TARGET} itself": {
            "similarity": pair,
            "similarity_to_mean": mean,
            "words": measures.word_errors(real),
        }
    }
    for source in sources:
        with tempfile.TemporaryDirectory() as place:
            before_folder, after_folder = Path(place) / "before", Path(place) / "after"
            before = Spoken.by_flite(source, sentences)
            before.write(before_folder)
            own = [measures.f0_hz(wave) for wave in before.waves]
            shift = round(12 * np.log2(target_hz / median_hz(own)), 2)
            rvc_colab.convert(
                before_folder, after_folder, voice=voice, transpose=shift, seed=0, **settings
            )
            after = Spoken.read(after_folder)
        asked = [contour * 2 ** (shift / 12) for contour in own]
        table[source] = _row(measures, before, after, asked) | {"transpose": float(shift)}
    return {name: {k: round(v, DIGITS) for k, v in row.items()} for name, row in table.items()}


def convert_person(
    voice: str, recording: Path, target: Path, settings: dict[str, object]
) -> dict[str, object]:
    """Convert a recording of a person at the target's pitch; return what is heard in both."""
    import rvc_colab

    measures = Measures(evaluation_sentences())
    real = Spoken.by_flite(TARGET, evaluation_sentences())
    before = _read_at_rate(recording)
    target_hz = median_hz([measures.f0_hz(wave) for wave in real.waves])
    shift = round(12 * np.log2(target_hz / median_hz([measures.f0_hz(before)])), 2)
    rvc_colab.convert(recording, target, voice=voice, transpose=shift, seed=0, **settings)
    after = _read_at_rate(target)
    return {
        "heard_before": " ".join(measures.heard(before)),
        "heard_after": " ".join(measures.heard(after)),
        "similarity_before": round(measures.similarity_to_mean(before), DIGITS),
        "similarity_after": round(measures.similarity_to_mean(after), DIGITS),
        "transpose": float(shift),
    }


def _read_at_rate(path: Path) -> np.ndarray:
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def _row(
    measures: Measures, before: Spoken, after: Spoken, asked: list[np.ndarray]
) -> dict[str, float]:
    row: dict[str, float] = {}
    for when, spoken in (("before", before), ("after", after)):
        row[f"similarity_{when}"], row[f"similarity_to_mean_{when}"] = measures.similarity(spoken)
        row[f"words_{when}"] = measures.word_errors(spoken)
        row[f"pitch_{when}"], row[f"pitch_of_all_asked_{when}"] = measures.pitch(asked, spoken)
    return row


def as_text(table: dict[str, dict]) -> str:
    """Draw the table; before → after where there are both."""
    lines = [f"{'voice':<12}{'similarity':>17}{'to mean':>17}{'word errors':>17}{'pitch':>17}"]
    for name, row in table.items():
        cells = []
        for measure in ("similarity", "similarity_to_mean", "words", "pitch"):
            before, after = row.get(f"{measure}_before"), row.get(f"{measure}_after")
            alone = row.get(measure)
            both = f"{before:.3f} → {after:.3f}" if after is not None else ""
            cells.append(f"{alone:.3f}" if alone is not None else both)
        lines.append(f"{name:<12}" + "".join(f"{cell:>17}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voice", default="demo", help="a name or a path")
    parser.add_argument("--workspace", type=Path, help="where a voice given by name lies")
    parser.add_argument("--index", help="a path, or none; the voice's own when not given")
    parser.add_argument("--source", action="append", choices=SOURCES, help="default: all three")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a conversion setting, for example index_rate=0",
    )
    parser.add_argument(
        "--person",
        type=Path,
        nargs=2,
        metavar=("RECORDING", "RESULT"),
        help="convert a person's recording instead, and print what is heard in both",
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    settings: dict[str, object] = dict(item.split("=", 1) for item in given.set)
    settings |= {"workspace": given.workspace, "index": given.index}
    if given.person:
        print(json.dumps(convert_person(given.voice, *given.person, settings), indent=2))
        return
    table = evaluate(given.voice, tuple(given.source or SOURCES), settings)
    print(as_text(table))
    if given.json:
        given.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
