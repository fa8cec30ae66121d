"""The public verbs: shared models, the settings file, and the profile of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import rvc_colab
from rvc_colab import api, config
from rvc_colab.errors import ConfigError
from rvc_colab.memory import default_lifecycle, default_manager, forget_process
from rvc_colab.profiling import stage
from rvc_colab.store.assets import bundled
from rvc_colab.store.checkpoint import read_voice, write_voice
from rvc_colab.training import recipe
from rvc_colab.training.recipe import TrainingResult


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    forget_process()
    yield
    forget_process()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    import soundfile

    wave, rate = soundfile.read(bundled("clip.wav"), frames=8000)
    path = tmp_path / "in.wav"
    soundfile.write(path, wave, rate)
    return path


@pytest.fixture(autouse=True)
def voice(golden: Path, tmp_path: Path) -> Path:
    """A small voice of the embedded encoder."""
    file = read_voice(golden / "inference" / "tiny_v1_f0_40k.pth")
    told = replace(file.metadata, encoder="tiny")
    return write_voice(tmp_path / "voices" / "anna.pth", file.weights, file.config, told)


def _convert(source: Path, **settings: object):
    voice = source.with_name("voices") / "anna.pth"
    target = source.with_name("out.wav")
    return rvc_colab.convert(source, target, voice=str(voice), f0_method="swift", **settings)


def test_two_conversions_in_one_process_load_once(source: Path) -> None:
    _convert(source)
    loads = default_manager().statistics.loads
    _convert(source, transpose=2)
    assert default_manager().statistics.loads == loads > 0
    assert default_manager().statistics.seconds_saved > 0


def test_a_profile_is_asked_for_and_read_in_a_browser(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    profile = _convert(source, profiling=True, workspace=place).record()["profile"]
    trace = Path(profile["trace"])
    assert trace.parent == place / "profiles"
    named = {event["name"] for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"loading", "content", "f0", "synthesis", "memory"} <= named
    assert {"content", "synthesis"} <= {total["name"] for total in profile["stages"]}
    assert "RAM MB" in profile["table"] and "synthesis" in profile["table"]


def test_without_the_wish_nothing_is_measured(source: Path, tmp_path: Path) -> None:
    assert _convert(source).record()["profile"] is None
    assert not (tmp_path / "workspace" / "profiles").exists()


def test_the_variable_asks_for_a_profile_too(source: Path, monkeypatch) -> None:
    monkeypatch.setenv("RVC_PROFILING", "1")
    assert _convert(source).profile["table"]


def test_a_folder_is_profiled_as_one_run(source: Path, tmp_path: Path, voice: Path) -> None:
    result = rvc_colab.convert(
        source.parent, tmp_path / "many", voice=str(voice), f0_method="swift", profiling=True
    )
    assert len(result.converted) == 1 and Path(result.record()["profile"]["trace"]).is_file()


def test_the_gpu_section_of_the_file_takes_effect(source: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("gpu:\n  max_memory_usage_percent: 55\nconversion:\n  device: cpu\n")
    _convert(source, config=settings)
    assert default_manager().config.max_memory_usage_percent == 55
    settings.write_text("gpu:\n  max_memory_usage_percent: 155\n")
    with pytest.raises(ConfigError, match=r"155.*settings\.yaml"):
        _convert(source, config=settings)


def test_the_device_of_the_environment_is_taken(source: Path, monkeypatch) -> None:
    monkeypatch.setenv("RVC_DEVICE", "cpu")
    assert _convert(source).voice["device"].startswith("cpu")
    assert {model.device for model in default_manager().loaded()} == {"cpu"}


def test_a_text_is_spoken_and_converted(
    source: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rvc_colab.audio import speech
    from rvc_colab.config import SpeechEngine

    asked: list[tuple[str, str]] = []

    def speak(text: str, target: Path, chosen: config.SpeechConfig) -> speech.Speaker:
        asked.append((text, chosen.speech_language))
        target.write_bytes(source.read_bytes())
        return speech.Speaker(SpeechEngine.FLITE, "flite")

    monkeypatch.setattr(speech, "speak", speak)
    settings = {"speech_language": "es", "transpose": 3, "f0_method": "swift"}
    result = rvc_colab.speak("Buenos días", tmp_path / "out.wav", voice=str(voice), **settings)
    assert asked == [("Buenos días", "es")]
    assert result.voice["speech"] == "flite, es" and result.source is None
    assert result.seconds == pytest.approx(0.5, abs=0.01) and (tmp_path / "out.wav").is_file()


def _training(asked: dict[str, object]):
    def train(name, folder, config, workspace, progress) -> TrainingResult:
        asked["tasks"] = default_lifecycle().tasks
        with stage("fit"):
            return TrainingResult(Path("x.pth"), None, {"ended": "finished"})

    return train


def test_training_has_the_device_for_itself_and_a_profile(monkeypatch, tmp_path) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(recipe, "train", _training(asked))
    record = api.train("anna", tmp_path, profiling=True).record()
    assert asked["tasks"] == ["train"] and default_lifecycle().tasks == []
    assert [total["name"] for total in record["profile"]["stages"]] == ["fit"]
    assert Path(record["profile"]["trace"]).is_file()
