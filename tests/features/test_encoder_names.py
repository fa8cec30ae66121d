"""Encoder names: a voice gets the encoder it was made with, or a clear word."""

import pytest

from rvc_colab.errors import EncoderError
from rvc_colab.features.encoder_names import (
    canonical_encoder,
    check_encoder,
    default_encoder,
    is_known_encoder,
)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("ContentVec", "contentvec"),
        ("chinese_hubert_base", "chinese-hubert-base"),
        ("spin_v2", "spin-v2"),
        ("hubert_base.pt", "hubert_base"),
        ("/my/Folder", "/my/Folder"),
    ],
)
def test_spelling(spelled, name):
    assert canonical_encoder(spelled) == name


@pytest.mark.parametrize("said", [None, "", "custom", "none"])
def test_voice_that_does_not_say_gets_contentvec(said):
    assert default_encoder(said) == "contentvec"


def test_voice_that_says_gets_its_own():
    assert default_encoder("spin_v2") == "spin-v2"


@pytest.mark.parametrize(
    ("voice", "asked"),
    [
        ("contentvec", "contentvec"),
        ("contentvec", "hubert_base"),
        ("Spin", "spin"),
        (None, "contentvec"),
    ],
)
def test_same_network_passes(voice, asked):
    assert check_encoder(voice, asked) == []


@pytest.mark.parametrize(
    ("voice", "asked"), [("tiny", "contentvec"), ("contentvec", "spin"), ("spin", "spin-v2")]
)
def test_another_network_is_refused(voice, asked):
    with pytest.raises(EncoderError, match=f"made with the content encoder {voice}, but {asked}"):
        check_encoder(voice, asked)


def test_unsaid_voice_with_another_encoder_warns():
    assert "does not say" in check_encoder(None, "tiny")[0]


def test_path_cannot_be_compared():
    assert "unknown" in check_encoder("contentvec", "/my/encoder")[0]


def test_own_encoder_of_the_same_path_passes():
    assert check_encoder("/my/encoder", "/my/encoder") == []


def test_path_is_no_known_name(tmp_path, monkeypatch):
    assert is_known_encoder("spin")
    assert not is_known_encoder(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spin").mkdir()
    assert not is_known_encoder("spin")
