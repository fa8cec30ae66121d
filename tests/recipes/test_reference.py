"""What the reference speaker would say at each moment of somebody else's sentence."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from recipes.phones import IGNORED, PHONE_ID, PHONES
from recipes.reference import aligned, picture, targets
from recipes.speech_data import Utterance, speak_flite
from rvc_colab.models.tiny_encoder import BANDS, PICTURE

RATE = 16000


def spans(words: str, each: float = 0.1) -> list[tuple[float, int]]:
    return [(each * (n + 1), PHONE_ID[name]) for n, name in enumerate(words.split())]


def test_the_same_phones_pair_one_to_one_with_their_times() -> None:
    pairs = aligned(spans("pau hh eh l ow pau"), spans("pau hh eh l ow pau", 0.2))
    assert [PHONES[pair.phone] for pair in pairs] == ["pau", "hh", "eh", "l", "ow", "pau"]
    assert pairs[2].start == pytest.approx(0.2)
    assert pairs[2].reference_start == pytest.approx(0.4)
    assert pairs[2].reference_end == pytest.approx(0.6)


def test_an_accent_takes_the_references_vowel_and_an_inserted_sound_has_no_pair() -> None:
    pairs = aligned(spans("pau b uw k ah pau"), spans("pau b uh k pau"))
    assert [PHONES[pair.phone] for pair in pairs] == ["pau", "b", "uh", "k", "pau"]
    assert not any(pair.start == pytest.approx(0.4) for pair in pairs)


def test_a_vowel_never_pairs_with_a_consonant_nor_a_sound_with_silence() -> None:
    assert aligned(spans("iy"), spans("k")) == []
    assert aligned(spans("pau"), spans("s")) == []


def test_targets_follow_the_sentences_own_time() -> None:
    # The reference says b then iy, half a second each; the speaker takes a quarter and a half.
    said = Utterance(
        np.zeros(RATE, np.int16), [(0.5, PHONE_ID["b"]), (1.0, PHONE_ID["iy"])], "flite-slt"
    )
    spoken = Utterance(
        np.zeros(RATE, np.int16),
        [(0.25, PHONE_ID["b"]), (0.75, PHONE_ID["iy"]), (1.0, PHONE_ID["zh"])],
        "x",
    )
    drawn = np.repeat(np.arange(98, dtype=np.float32)[:, None], BANDS, 1)  # says which mel frame
    aim = targets(spoken, said, drawn)
    # Content frame 5 is centred on 0.1125 s of the first phone: 0.225 s of the reference, whose
    # mel frame 21.25 is centred there.
    assert PHONES[aim.labels[5]] == "b"
    assert aim.pictures[5, 0] == pytest.approx(0.225 * 100 - 1.25, abs=0.02)
    # 0.5125 s is 52.5 % into "iy": 0.7625 s there.
    assert PHONES[aim.labels[25]] == "iy"
    assert aim.pictures[25, 0] == pytest.approx(0.7625 * 100 - 1.25, abs=0.05)
    # Its second half is the mel frame 10 ms later.
    assert aim.pictures[25, BANDS] - aim.pictures[25, 0] == pytest.approx(1.0, abs=0.1)
    # What the reference does not say is not asked for.
    assert aim.labels[-1] == IGNORED and not aim.known[-1]
    assert aim.known.sum() == pytest.approx(0.75 * 50, abs=1)


def test_a_picture_shows_formants_and_no_harmonics() -> None:
    # Two pitches through one resonance at 700 Hz give nearly the same picture.
    def voice(pitch: float) -> np.ndarray:
        time = np.arange(RATE) / RATE
        tones = [
            np.sin(2 * np.pi * k * pitch * time) / (1 + ((k * pitch - 700) / 300) ** 2)
            for k in range(1, int(7000 / pitch))
        ]
        return (np.sum(tones, 0) * 3000).astype(np.int16)

    low, high = (picture(voice(pitch))[20:-20].mean(0) for pitch in (170.0, 205.0))
    assert low.shape == (BANDS,)
    assert np.abs(low - high).mean() < 0.25
    assert np.abs(np.diff(low, 2)).max() < 1.0  # no comb
    assert abs(int(low.argmax()) - int(high.argmax())) <= 2


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_reference_is_her_own_target() -> None:
    said = speak_flite("Hello there.", "slt")
    drawn = picture(said.wave)
    aim = targets(said, said, drawn)
    frames = len(drawn) // 2
    whole = aim.pictures[:frames].reshape(-1, BANDS)
    assert aim.pictures.shape[1] == PICTURE
    assert aim.known[: frames - 12].all()
    assert np.abs(whole[: 2 * frames - 24] - drawn[: 2 * frames - 24]).max() < 0.02
