from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import speech_like
from test_pipeline import INDEX, StubEncoder

from rvc_colab.config import ConversionConfig
from rvc_colab.conversion import converter as module
from rvc_colab.conversion.converter import Converter, borrow_converter, choose_index
from rvc_colab.conversion.run import convert_waveform
from rvc_colab.errors import AssetError, EncoderError, IndexFileError, VoiceError
from rvc_colab.memory import forget_process
from rvc_colab.store import encoders
from rvc_colab.store.checkpoint import VoiceMetadata, read_voice, write_voice
from rvc_colab.workspace import Workspace

SWIFT = ConversionConfig(f0_method="swift")


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    yield
    forget_process()


def load_converter(*asked: Any) -> Converter:
    """Use a voice beyond its lease: nobody else wants the memory here."""
    with borrow_converter(*asked) as converter:
        return converter


@pytest.fixture
def workspace(golden: Path) -> Workspace:
    place = Workspace.locate()
    for name in ("tiny_v2_f0_32k", "tiny_v1_nof0_40k"):
        shutil.copy(golden / "inference" / f"{name}.pth", place.weights)
    shutil.copy(golden / "inference" / INDEX, place.indexes / "tiny_v2_f0_32k.index")
    return place


@pytest.fixture
def stub_encoder(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every encoder be there, and be the goldens' stand-in."""

    class Either(StubEncoder):
        def width(self, version: str) -> int:
            return 768 if version == "v2" else 256

        def encode(self, wave: torch.Tensor, version: str) -> torch.Tensor:
            return super().encode(wave, version)[..., : self.width(version)]

    monkeypatch.setattr(module, "is_present", lambda name, cache: name != "rmvpe")
    monkeypatch.setattr(encoders, "open_content_encoder", lambda *a, **k: Either(golden))


@pytest.mark.usefixtures("stub_encoder")
def test_a_voice_is_loaded_by_name_with_its_index(workspace: Workspace) -> None:
    converter = load_converter("tiny_v2_f0_32k", None, SWIFT, workspace)
    assert converter.sample_rate == 32000
    assert converter.card["index"].endswith("tiny_v2_f0_32k.index")
    assert converter.card["f0_method"] == "swift" and converter.card["version"] == "v2"
    wave = convert_waveform(speech_like(0.5), 16000, converter, SWIFT).wave
    assert len(wave) == 16000 and np.isfinite(wave).all()


@pytest.mark.usefixtures("stub_encoder")
@pytest.mark.parametrize("kind", ["50 ms", "silent", "clipped", "8 kHz", "192 kHz", "6 channels"])
def test_unusual_sound_simply_works(workspace: Workspace, kind: str) -> None:
    converter = load_converter("tiny_v2_f0_32k", None, SWIFT, workspace)
    rate = {"8 kHz": 8000, "192 kHz": 192000}.get(kind, 16000)
    wave = speech_like(0.05 if kind == "50 ms" else 0.7, rate)
    if kind == "silent":
        wave = np.zeros_like(wave)
    if kind == "clipped":
        wave = np.clip(wave * 100, -1, 1)
    if kind == "6 channels":
        wave = np.stack([wave] * 6)
    result = convert_waveform(wave, rate, converter, SWIFT)
    assert len(result.wave) == round(wave.shape[-1] * 32000 / rate)
    assert np.isfinite(result.wave).all()
    assert np.abs(result.wave).max() <= 0.99 + 1e-6
    assert (kind == "silent") == (not result.wave.any())


@pytest.mark.usefixtures("stub_encoder")
def test_a_voice_without_f0_needs_no_pitch(workspace: Workspace, golden: Path) -> None:
    path = golden / "inference" / "tiny_v1_nof0_40k.pth"
    converter = load_converter(path, "none", SWIFT, workspace)
    assert converter.networks.f0 is None and converter.card["index"] is None
    wave = convert_waveform(speech_like(0.5), 16000, converter).wave
    assert len(wave) == 20000 and np.isfinite(wave).all()


@pytest.mark.usefixtures("stub_encoder")
def test_an_index_of_another_width_is_refused(workspace: Workspace) -> None:
    with pytest.raises(IndexFileError, match="768.*256"):
        load_converter("tiny_v1_nof0_40k", "tiny_v2_f0_32k.index", SWIFT, workspace)


@pytest.mark.usefixtures("stub_encoder")
def test_an_index_that_is_not_used_is_not_read(workspace: Workspace) -> None:
    config = ConversionConfig(index_rate=0, f0_method="swift")
    assert load_converter("tiny_v2_f0_32k", None, config, workspace).networks.index is None


@pytest.mark.usefixtures("stub_encoder")
def test_a_voice_trained_through_unvoiced_frames_says_so(workspace: Workspace) -> None:
    voice = read_voice(workspace.weights / "tiny_v2_f0_32k.pth")
    told = VoiceMetadata(encoder="contentvec", f0_interpolated=True)
    path = write_voice(workspace.weights / "sung.pth", voice.weights, voice.config, told)
    warnings = load_converter(path, "none", SWIFT, workspace).warnings
    assert any("--interpolate-f0" in text for text in warnings)
    config = ConversionConfig(f0_method="swift", interpolate_f0=True)
    assert load_converter(path, "none", config, workspace).warnings == []


def test_a_missing_encoder_says_how_to_get_it(workspace: Workspace) -> None:
    with pytest.raises(EncoderError) as error:
        load_converter("tiny_v2_f0_32k", None, SWIFT, workspace)
    assert "contentvec" in error.value.message
    assert "rvc-colab fetch contentvec" in error.value.hint
    assert str(workspace.cache) in error.value.hint


def test_an_encoder_that_does_not_exist_is_refused(workspace: Workspace) -> None:
    config = ConversionConfig(encoder="no/such/encoder")
    with pytest.raises(EncoderError):
        load_converter("tiny_v2_f0_32k", None, config, workspace)


@pytest.mark.usefixtures("stub_encoder")
def test_missing_rmvpe_is_an_error_only_when_asked_for(workspace: Workspace) -> None:
    automatic = load_converter("tiny_v2_f0_32k", None, ConversionConfig(), workspace)
    assert automatic.card["f0_method"] == "swift"
    with pytest.raises(AssetError, match="rmvpe") as error:
        load_converter("tiny_v2_f0_32k", None, ConversionConfig(f0_method="rmvpe"), workspace)
    assert "rvc-colab fetch rmvpe" in error.value.hint


@pytest.mark.parametrize("name", ["nobody", "../../etc/passwd", "a/b.pth", "🎤", "", "x" * 500])
def test_a_voice_that_is_not_there_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(VoiceError) as error:
        load_converter(name, None, SWIFT, workspace)
    assert error.value.hint


def test_a_named_index_that_is_missing_is_refused(workspace: Workspace) -> None:
    voice = workspace.weights / "tiny_v2_f0_32k.pth"
    with pytest.raises(IndexFileError):
        choose_index("nothing.index", voice, "v2", workspace)
    assert choose_index("none", voice, "v2", workspace) is None
    assert choose_index("tiny_v2_f0_32k", voice, "v2", workspace) is not None
