"""What the reference speaker would say at each moment of somebody else's sentence.

flite's slt says the same text; the two phone sequences are aligned (Needleman and Wunsch 1970) and
time is mapped linearly inside each pair of phones. The encoder learns to draw slt's spectrum from
anybody's sound: speaker, accent and channel are unlearned by construction.

T content frames (50 a second), M mel frames (100 a second).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from recipes.phones import IGNORED, PHONE_ID, PHONES, SILENCE
from recipes.speech_data import RATE, Utterance, speak_flite
from rvc_colab.models.tiny_encoder import (
    BANDS,
    MEL_HOP,
    PICTURE,
    WINDOW,
    FrontEnd,
    content_frames,
    hadamard,
)

REFERENCE = "slt"
CEPSTRA = 24  # cosines kept over the bands: the envelope without the harmonics of a high voice
_VOWEL_NAMES = "aa ae ah ao aw ay eh er ey ih iy ow oy uh uw"
_VOWELS = {PHONE_ID[name] for name in _VOWEL_NAMES.split()}
_ALIKE = [
    {PHONE_ID[p] for p in group.split()}
    for group in ("p b", "t d", "k g", "f v", "th dh t d", "s z", "sh zh ch jh", "m n ng", "er r")
]
_GAP, _ACCENT, _LIKE, _OTHER, _NEVER = 0.8, 0.5, 0.6, 1.1, 9.0


@dataclass(frozen=True)
class Pair:
    """A phone of a sentence and the phone that the reference says for it; times in seconds."""

    start: float
    end: float
    reference_start: float
    reference_end: float
    phone: int  # the reference's


@lru_cache(maxsize=256)
def _cost(one: int, other: int) -> float:
    if one == other:
        return 0.0
    if PHONE_ID[SILENCE] in (one, other):
        return _NEVER
    if one in _VOWELS and other in _VOWELS:
        return _ACCENT
    if any(one in group and other in group for group in _ALIKE):
        return _LIKE
    return _NEVER if (one in _VOWELS) != (other in _VOWELS) else _OTHER


def aligned(spoken: list[tuple[float, int]], reference: list[tuple[float, int]]) -> list[Pair]:
    """Pair the phones of two sayings of one text; what one of them leaves out has no pair."""
    rows, columns = len(spoken), len(reference)
    total = np.zeros((rows + 1, columns + 1))
    total[:, 0], total[0] = _GAP * np.arange(rows + 1), _GAP * np.arange(columns + 1)
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            both = total[i - 1, j - 1] + _cost(spoken[i - 1][1], reference[j - 1][1])
            total[i, j] = min(both, total[i - 1, j] + _GAP, total[i, j - 1] + _GAP)
    pairs, i, j = [], rows, columns
    while i and j:
        phone = reference[j - 1][1]
        if total[i, j] == total[i - 1, j - 1] + _cost(spoken[i - 1][1], phone):
            i, j = i - 1, j - 1
            starts = (spoken[i - 1][0] if i else 0.0, reference[j - 1][0] if j else 0.0)
            pairs.append(Pair(starts[0], spoken[i][0], starts[1], reference[j][0], phone))
        elif total[i, j] == total[i - 1, j] + _GAP:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


@torch.inference_mode()
def picture(wave: np.ndarray) -> np.ndarray:
    """Return the smooth levelled log-mel [M, BANDS] of an int16 wave at 16 kHz."""
    front = FrontEnd(BANDS)
    drawn = front(torch.from_numpy(wave / np.float32(32768))[None])[0].T.numpy()
    order, band = np.arange(CEPSTRA)[:, None], np.arange(BANDS)[None]
    cosines = np.cos(np.pi * order * (band + 0.5) / BANDS) * np.sqrt(2 / BANDS)
    cosines[0] /= np.sqrt(2)
    return (drawn @ cosines.T @ cosines).astype(np.float32)


def phone_codes() -> np.ndarray:
    """Return the codes [40, 2 · BANDS] by which content spells the phones."""
    return hadamard(PICTURE)[1 : len(PHONES) + 1].numpy()


@dataclass(frozen=True)
class Targets:
    """What the encoder should say of a sentence, frame by frame."""

    labels: np.ndarray  # uint8 [T], phones as the reference says them, IGNORED where unknown
    pictures: np.ndarray  # float16 [T, 2 · BANDS]: two mel frames of the reference
    known: np.ndarray  # bool [T]: where the picture is known


def targets(spoken: Utterance, said: Utterance, drawn: np.ndarray) -> Targets:
    """Lay the reference's phones and picture along a sentence's own time.

    `said` is the same text by the reference, `drawn` its picture.
    """
    frames = content_frames(len(spoken.wave))
    # Centres of the two windows that content frame i covers: 320 i + 200 and 320 i + 360 samples.
    mel_centres = (np.arange(2 * frames) * MEL_HOP + WINDOW // 2) / RATE
    place = np.full(2 * frames, -1.0)
    labels = np.full(frames, IGNORED, np.uint8)
    for pair in aligned(spoken.spans, said.spans):
        inside = (mel_centres >= pair.start) & (mel_centres < pair.end)
        share = (mel_centres[inside] - pair.start) / max(pair.end - pair.start, 1e-6)
        place[inside] = pair.reference_start + share * (pair.reference_end - pair.reference_start)
        labels[inside[::2]] = pair.phone
    known = place >= 0
    at = ((place * RATE - WINDOW // 2) / MEL_HOP).clip(0, len(drawn) - 1)
    below = at.astype(int)
    above = np.minimum(below + 1, len(drawn) - 1)
    part = (at - below)[:, None]
    mixed = (1 - part) * drawn[below] + part * drawn[above]
    mixed[~known] = 0
    both = known.reshape(frames, 2).all(1)
    return Targets(labels, mixed.astype(np.float16).reshape(frames, 2 * BANDS), both)


def with_reference(texts: list[str], spoken: list[Utterance]) -> list[tuple[Utterance, Targets]]:
    """Give every sentence its targets; sayings whose phones match badly are left out."""
    made = []
    for text, one in zip(texts, spoken, strict=True):
        said = speak_flite(text, REFERENCE)
        aim = targets(one, said, picture(said.wave))
        if aim.known.mean() > 0.6:
            made.append((one, aim))
    return made
