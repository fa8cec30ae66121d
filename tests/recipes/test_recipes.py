"""The recipes' parts that decide what is learned and measured; no synthesiser is needed."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from recipes import demo_voice
from recipes.augment import Augmenter
from recipes.curves import LOGS, PANELS, read_curve
from recipes.evaluate import edit_distance
from recipes.phones import ESPEAK, ESPEAK_WITH_R, ESPEAK_WITHOUT_R, FLITE_FOLDING, PHONE_ID, PHONES
from recipes.sentences import evaluation_sentences, training_sentences
from recipes.speech_data import Utterance, espeak_spans
from rvc_colab.config import TrainingConfig
from rvc_colab.models.tiny_encoder import PHONES as PHONE_COUNT
from rvc_colab.models.tiny_encoder import FrontEnd


def test_the_same_seed_gives_the_same_sentences() -> None:
    assert training_sentences(30, 7) == training_sentences(30, 7)


def test_evaluation_sentences_are_never_trained_on() -> None:
    made = {text.rstrip(".?!").lower() for text in training_sentences(500, 100)}
    assert len(evaluation_sentences()) == 10
    assert not made & {text.rstrip(".?!").lower() for text in evaluation_sentences()}


def test_encoder_has_one_output_for_each_phone() -> None:
    assert len(set(PHONES)) == len(PHONES) == PHONE_COUNT


@pytest.mark.parametrize("table", [ESPEAK, ESPEAK_WITH_R, ESPEAK_WITHOUT_R])
def test_espeak_sounds_map_to_known_phones(table: dict[str, tuple[str, ...]]) -> None:
    assert all(1 <= len(phones) <= 2 for phones in table.values())
    assert {phone for phones in table.values() for phone in phones} <= {*PHONES, "?"}


def test_a_vowel_ends_without_r_where_the_r_is_a_sound_of_its_own() -> None:
    spans = espeak_spans([(0, "A@"), (100, "r")], 200, 1000, speaks_r=True)
    assert [PHONES[phone] for _, phone in spans] == ["pau", "aa", "r"]


def test_flite_folding_maps_to_known_phones() -> None:
    assert set(FLITE_FOLDING.values()) <= set(PHONES)


def test_labels_are_read_at_the_centre_of_huberts_frames() -> None:
    b, iy, pau = (PHONE_ID[phone] for phone in ("b", "iy", "pau"))
    # Frame 4 is centred on sample 1480 (0.0925 s), frame 5 on sample 1800 (0.1125 s).
    spoken = Utterance(np.zeros(3280, np.int16), [(0.1, b), (0.15, iy)], "x")
    assert spoken.labels().tolist() == [b] * 5 + [iy] * 2 + [pau] * 3


def test_espeak_sound_of_two_phones_is_split_and_unknown_names_lengthen() -> None:
    events = [(100, "h"), (200, "e@"), (300, "??"), (400, "_:")]
    spans = espeak_spans(events, 500, 1000, speaks_r=True)
    names = [(round(end, 3), PHONES[phone]) for end, phone in spans]
    assert names == [(0.1, "pau"), (0.2, "hh"), (0.32, "eh"), (0.4, "er"), (0.5, "pau")]


def test_disguise_keeps_the_timing() -> None:
    front = FrontEnd(80)
    wave = torch.zeros(4, 16080)
    wave[:, 8000:8400] = torch.randn(4, 400, generator=torch.Generator().manual_seed(0))
    disguise = Augmenter(front, np.random.default_rng(0))
    quiet = torch.full((4,), 0.0)
    for _ in range(3):
        loudest = disguise(wave).mean(1).argmax(1).float()
        quiet = torch.maximum(quiet, (loudest - 50).abs())
    assert quiet.max() <= 3  # mel frames of 10 ms around sample 8200


@pytest.mark.parametrize(
    ("asked", "heard", "edits"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b", "x a b y", 2), ("a", "", 1), ("", "", 0)],
)
def test_edit_distance(asked: str, heard: str, edits: int) -> None:
    assert edit_distance(asked.split(), heard.split()) == edits


def test_demo_settings_are_settings_of_the_trainer() -> None:
    settings = TrainingConfig(**demo_voice.SETTINGS)  # type: ignore[arg-type]
    assert settings.sample_rate == 16000


@pytest.mark.parametrize(("log", "step", "names"), PANELS)
def test_the_kept_logs_have_their_curves(log: str, step: str, names: tuple[str, ...]) -> None:
    text = (LOGS / log).read_text(encoding="utf-8")
    for name in names:
        steps, values = read_curve(text, step, name)
        assert len(values) > 10 and steps == sorted(steps)


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_flite_tells_when_each_phone_ends() -> None:
    from recipes.speech_data import draw_flite

    spoken = draw_flite("Yes.", "slt", random.Random(0))
    assert [PHONES[phone] for _, phone in spoken.spans] == ["pau", "y", "eh", "s", "pau"]
    assert spoken.spans[-1][0] == pytest.approx(len(spoken.wave) / 16000, abs=0.1)
