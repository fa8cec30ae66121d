"""Conversions share their models: loaded once, exchanged when asked, given up when memory ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stand_ins import speech_like

from rvc_colab.config import ConversionConfig
from rvc_colab.conversion import shared as module
from rvc_colab.conversion.shared import SharedConversion, modestly
from rvc_colab.errors import MemoryBudgetError, VoiceError
from rvc_colab.features.retrieval import build_index, write_index
from rvc_colab.memory import Effort, default_manager, forget_process
from rvc_colab.store import checkpoint
from rvc_colab.store.checkpoint import read_voice, write_voice
from rvc_colab.workspace import Workspace

PLAIN = ConversionConfig(f0_method="swift", device="cpu", seed=0)
OUT = "CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    forget_process()
    yield
    forget_process()


@pytest.fixture
def workspace(golden: Path) -> Workspace:
    place = Workspace.locate()
    file = read_voice(golden / "inference" / "tiny_v1_f0_40k.pth")
    told = replace(file.metadata, encoder="tiny")
    for name in ("anna", "bert"):
        write_voice(place.weights / f"{name}.pth", file.weights, file.config, told)
    return place


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    soundfile.write(path, speech_like(0.5), 16000)
    return path


@pytest.fixture
def voices_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The voice files whose weights were read, in order."""
    read: list[str] = []

    def counted(path: str) -> object:
        read.append(Path(path).stem)
        return read_voice(path)

    monkeypatch.setattr(checkpoint, "read_voice", counted)
    return read


def _convert(source: Path, voice: str = "anna", index: object = None, **settings: object):
    config = PLAIN.model_copy(update=settings)
    return SharedConversion(voice, index, config).file(source, source.with_name(f"{voice}.wav"))


def test_a_second_conversion_loads_nothing(workspace, source, voices_read) -> None:
    _convert(source)
    loads = default_manager().statistics.loads
    again = _convert(source, transpose=3.0)
    assert voices_read == ["anna"]
    assert (default_manager().statistics.loads, loads) == (3, 3)  # voice, encoder, pitch
    assert "loading" not in again.stages and again.samples == 20000


def test_another_voice_shares_encoder_and_pitch(workspace, source, voices_read) -> None:
    _convert(source)
    _convert(source, "bert")
    assert voices_read == ["anna", "bert"]
    assert default_manager().statistics.loads == 4


def test_a_voice_file_trained_anew_is_read_anew(workspace, source, voices_read) -> None:
    before = _convert(source)
    path = workspace.weights / "anna.pth"
    file = read_voice(path)
    weights = {**file.weights, "emb_g.weight": file.weights["emb_g.weight"] + 1}
    write_voice(path, weights, file.config, replace(file.metadata, encoder="tiny"))
    os.utime(path, ns=(1, 1))  # a clock that stands still must not hide it
    heard = [soundfile.read(before.target)[0], soundfile.read(_convert(source).target)[0]]
    assert voices_read == ["anna", "anna"]
    assert np.abs(heard[0] - heard[1]).max() > 1e-3


def test_ten_threads_load_one_voice(workspace, source, voices_read) -> None:
    def run(number: int) -> int:
        target = source.with_name(f"{number}.wav")
        return SharedConversion("anna", None, PLAIN).file(source, target).samples

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(run, range(10))) == [20000] * 10
    assert voices_read == ["anna"]
    assert default_manager().statistics.loads == 3


def test_index_precision_and_pitch_change_between_conversions(workspace, source, tmp_path) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 256)).astype(np.float32)
    index = write_index(tmp_path / "anna.index", build_index(rows))
    assert _convert(source).voice["index"] is None
    assert _convert(source, index=index).voice["index"] == str(index)
    assert _convert(source, index=index, gpu_retrieval=False).voice["index"] == str(index)
    assert "bf16" in _convert(source, precision="bf16").voice["device"]
    assert _convert(source, f0_method="pyin").voice["f0_method"] == "pyin"
    names = [f"{m.key.partition(':')[0]} {m.dtype}" for m in default_manager().loaded()]
    assert sorted(names).count("voice float32") == sorted(names).count("voice bfloat16") == 1


class Starving:
    """A conversion that runs out of memory until little enough is asked for."""

    def __init__(self, enough) -> None:
        self.enough, self.asked = enough, []

    def __call__(self, source, target, converter, config, progress=None, noise=None):
        self.asked.append(config)
        if not self.enough(config):
            raise RuntimeError(OUT)
        return module_convert_file(source, target, converter, config, progress)


module_convert_file = module.convert_file


def test_what_memory_took_stands_in_the_result(workspace, source, monkeypatch, caplog) -> None:
    starving = Starving(lambda config: config.chunk_seconds <= 9)
    monkeypatch.setattr(module, "convert_file", starving)
    result = _convert(source)
    assert [config.chunk_seconds for config in starving.asked] == [18, 18, 9]
    assert [text for text in result.warnings if "Memory ran out" in text] == [
        "Memory ran out: tried again with emptied the caches.",
        "Memory ran out: tried again with chunks of 0.5 times the usual length.",
    ]
    assert "chunks of 0.5 times" in caplog.text


def test_idle_models_go_before_quality_does(workspace, source, monkeypatch) -> None:
    _convert(source, "bert")
    monkeypatch.setattr(
        module, "convert_file", Starving(lambda c: len(default_manager().loaded()) == 3)
    )
    (step,) = [text for text in _convert(source).warnings if "unloaded" in text]
    assert "bert.pth" in step


def test_when_nothing_helps_every_step_is_told(workspace, source, monkeypatch) -> None:
    starving = Starving(lambda config: False)
    monkeypatch.setattr(module, "convert_file", starving)
    with pytest.raises(MemoryBudgetError, match="half precision") as error:
        _convert(source)
    assert "CPU instead" not in error.value.message  # it was the CPU already
    assert str(starving.asked[-1].precision) == "bf16"
    assert starving.asked[-1].chunk_seconds == 2.25


def test_the_files_of_a_folder_do_not_climb_down_one_by_one(
    workspace, source, tmp_path, monkeypatch
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.wav").write_bytes(source.read_bytes())
    starving = Starving(lambda config: config.chunk_seconds <= 9)
    monkeypatch.setattr(module, "convert_file", starving)
    result = SharedConversion("anna", None, PLAIN).folder(folder, tmp_path / "out")
    assert [config.chunk_seconds for config in starving.asked] == [18, 18, 9, 9, 9]
    assert len(result.converted) == 3
    assert all("chunks of 0.5" in " ".join(done.warnings) for done in result.converted)


def test_a_folder_and_a_voice_that_is_not_there_are_one_error(workspace, source) -> None:
    with pytest.raises(VoiceError, match="nobody"):
        SharedConversion("nobody", None, PLAIN).folder(source.parent, source.parent / "out")


def test_the_cpu_as_a_last_resort_computes_in_32_bit() -> None:
    config = modestly(ConversionConfig(precision="fp16"), Effort(device="cpu"))
    assert (config.device, str(config.precision)) == ("cpu", "fp32")
