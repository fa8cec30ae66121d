"""Separators and speech, held against stand-ins with the calls of demucs and piper."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from rvc_colab.errors import AssetError
from rvc_colab.memory.families import ModelFamily, Placement
from rvc_colab.memory.sound_families import DemucsFamily, PiperFamily

CPU = Placement()


class Halves(torch.nn.Module):
    """A "separator" whose stems are a quarter and three quarters of the mix."""

    samplerate, sources = 44100, ["vocals", "rest"]


@pytest.fixture
def demucs(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_model(name: str) -> Halves:
        if name != "htdemucs":
            raise SystemExit(f"unknown {name}")
        return Halves()

    def apply_model(model, mix, device=None):
        return torch.stack([mix * 0.25, mix * 0.75], dim=1)

    for name, content in (
        ("demucs", {}),
        ("demucs.pretrained", {"get_model": get_model}),
        ("demucs.apply", {"apply_model": apply_model}),
    ):
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def piper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    class PiperVoice:
        config = SimpleNamespace(sample_rate=22050)

        @staticmethod
        def load(path: str) -> PiperVoice:
            return PiperVoice()

        def synthesize(self, text: str):
            for _ in text.split():
                yield SimpleNamespace(audio_float_array=np.ones(100, dtype=np.float32))

    module = ModuleType("piper")
    module.PiperVoice = PiperVoice  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "piper", module)
    path = tmp_path / "voice.onnx"
    path.write_bytes(bytes(1000))
    Path(f"{path}.json").write_text("{}")
    return path


def test_both_keep_to_the_protocol() -> None:
    assert isinstance(DemucsFamily(), ModelFamily) and isinstance(PiperFamily(), ModelFamily)
    assert (DemucsFamily.takes, PiperFamily.takes) == ("sound", "text")


def test_a_separator_takes_a_mix_apart_at_its_own_rate(demucs) -> None:
    family = DemucsFamily()
    model = family.load(family.key("htdemucs"), CPU)
    wave = np.random.default_rng(0).standard_normal((2, 500)).astype(np.float32)
    stems = model.separate(wave)
    assert list(stems) == ["vocals", "rest"] and family.sample_rate(model) == 44100
    assert stems["vocals"].shape == (2, 500)


def test_a_mono_mix_is_heard_on_both_sides(demucs) -> None:
    family = DemucsFamily()
    model = family.load(family.key("htdemucs"), CPU)
    stems = model.separate(np.linspace(-1, 1, 50, dtype=np.float32))
    assert stems["rest"].shape == (2, 50)
    np.testing.assert_array_equal(stems["rest"][0], stems["rest"][1])


def test_an_unknown_separator_is_an_error_and_not_the_end_of_the_process(demucs) -> None:
    family = DemucsFamily()
    with pytest.raises(AssetError, match="nodemucs could not be loaded: unknown"):
        family.load(family.key("nodemucs"), CPU)


def test_speech_is_one_sound_at_its_own_rate(piper: Path) -> None:
    family = PiperFamily()
    model = family.load(family.key(str(piper)), CPU)
    assert model.speak("three words here").shape == (300,)
    assert model.speak("").shape == (0,)
    assert family.sample_rate(model) == 22050 and family.size(model) == 1000


def test_a_speech_voice_without_its_description_is_refused(piper: Path) -> None:
    Path(f"{piper}.json").unlink()
    family = PiperFamily()
    with pytest.raises(AssetError, match=r"voice\.onnx\.json"):
        family.load(family.key(str(piper)), CPU)
