"""Our families: keys, what is loaded, and estimates beside what was measured."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated_memory import MIB, SimulatedDevice

from rvc_colab.config import GpuConfig
from rvc_colab.errors import AssetError, ConfigError, IndexFileError, VoiceError
from rvc_colab.memory.built_in import ReadyVoice, built_in_families
from rvc_colab.memory.families import Families, Placement
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.sizes import used_bytes
from rvc_colab.workspace import Workspace

TOLERANCE = 0.25  # of an estimate, as promised
CPU = Placement("cpu", "float32")
# Small enough to be quick, wide enough that weights and not bookkeeping dominate.
SMALL_VOICE = [
    1025, 32, 192, 192, 256, 2, 2, 3, 0, "1", [3, 7, 11], [[1, 3, 5]] * 3,
    [10, 10, 2, 2], 128, [16, 16, 4, 4], 4, 256, 40000,
]  # fmt: skip
FRAMES, SECONDS = 60, 1


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def families(workspace: Workspace) -> Families:
    return Families(built_in_families(lambda: workspace))


@pytest.fixture
def manager(families: Families) -> ModelManager:
    device = SimulatedDevice(0, names=(), cpu=4000 * MIB)
    return ModelManager(families, device, GpuConfig(max_memory_usage_percent=100))


@pytest.fixture
def voice(workspace: Workspace) -> Path:
    from rvc_colab.models.synthesizer import Synthesizer, SynthesizerConfig
    from rvc_colab.store.checkpoint import write_voice
    from rvc_colab.store.voice import VoiceMetadata

    torch.manual_seed(0)
    config = SynthesizerConfig.from_list(SMALL_VOICE, "v2", True)
    path = workspace.weights / "anna.pth"
    model = Synthesizer(config, with_posterior=False)
    write_voice(path, model, config, VoiceMetadata())
    return path


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    config = HubertConfig(num_hidden_layers=12, intermediate_size=512)
    folder = tmp_path / "hubert"
    HubertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def rmvpe(tmp_path: Path) -> Path:
    from rvc_colab.models.rmvpe import E2E, E2EConfig

    torch.manual_seed(0)
    path = tmp_path / "rmvpe.pt"
    config = E2EConfig(blocks=1, layers=4, intermediate_layers=1, channels=8)
    torch.save({k: v.half() for k, v in E2E(config).state_dict().items()}, path)
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    from rvc_colab.features.retrieval import build_index, write_index

    rows = np.random.default_rng(0).standard_normal((1500, 256), dtype=np.float32)
    return write_index(tmp_path / "added_anna.index", build_index(rows))


def _speak(model: ReadyVoice) -> torch.Tensor:
    width = model.file.config.content_channels
    with torch.inference_mode():
        return model.network.infer(
            torch.zeros(1, FRAMES, width),
            torch.tensor([FRAMES]),
            torch.ones(1, FRAMES, dtype=torch.int64),
            torch.full((1, FRAMES), 220.0),
            torch.tensor([0]),
        )


WAVE = np.zeros(16000 * SECONDS, dtype=np.float32)
USES = {
    "voice": _speak,
    "encoder": lambda model: model.encode(torch.from_numpy(WAVE), "v2"),
    "f0": lambda model: model(WAVE),
    "index": lambda model: model.search(torch.zeros(200, 256)),
}


@pytest.fixture(params=list(USES))
def key(request: pytest.FixtureRequest) -> str:
    kind = request.param
    file = request.getfixturevalue({"f0": "rmvpe"}.get(kind, kind))
    return f"f0:rmvpe?weights={file}" if kind == "f0" else f"{kind}:{file}"


def test_the_estimate_is_near_what_a_model_holds(families: Families, key: str) -> None:
    found = families.key(key)
    family = families.get(found.family)
    guess = family.estimate(found, CPU)
    measured = family.size(family.load(found, CPU))
    assert measured > MIB
    assert guess.resident == pytest.approx(measured, rel=TOLERANCE)


def test_after_one_use_the_estimate_is_near_the_whole_need(manager: ModelManager, key: str) -> None:
    found = manager.families.key(key)
    family = manager.families.get(found.family)
    use = USES[found.family]
    with manager.acquire(found) as lease:
        manager.observe(found, CPU, used_bytes(lambda: use(lease.model)))
        measured = family.size(lease.model) + used_bytes(lambda: use(lease.model))
    estimate = manager.estimator.estimate(family, found, CPU)
    assert estimate.total == pytest.approx(measured, rel=TOLERANCE)


def test_a_voice_in_16_bit_is_estimated_smaller(families: Families, voice: Path) -> None:
    key = families.key(f"voice:{voice}")
    family = families.get("voice")
    half = Placement("cpu", "bfloat16")
    model = family.load(key, half)
    assert next(model.network.dec.parameters()).dtype is torch.bfloat16
    assert next(model.network.flow.parameters()).dtype is torch.float32
    assert family.size(model) < family.estimate(key, CPU).resident
    assert family.estimate(key, half).resident < family.estimate(key, CPU).resident


def test_name_and_path_of_a_voice_are_one_key(families: Families, voice: Path) -> None:
    assert families.key("voice:anna") == families.key(f"voice:{voice}")


def test_a_relative_and_an_absolute_path_are_one_key(families, index, monkeypatch) -> None:
    monkeypatch.chdir(index.parent)
    assert families.key(f"index:{index.name}") == families.key(f"index:{index}")


def test_spellings_of_an_encoder_are_one_key(families: Families) -> None:
    assert families.key("encoder:Chinese_HuBERT_base").name == "chinese-hubert-base"


def test_a_missing_voice_is_named(manager: ModelManager, voice: Path) -> None:
    with pytest.raises(VoiceError, match="ana"):
        manager.load("voice:ana")


def test_an_encoder_that_is_not_there_is_not_downloaded_by_surprise(manager) -> None:
    with pytest.raises(AssetError, match="contentvec"):
        manager.load("encoder:contentvec")


def test_a_damaged_index_is_refused_in_words(manager: ModelManager, tmp_path: Path) -> None:
    path = tmp_path / "broken.index"
    path.write_bytes(b"<!doctype html>" + b" " * 100)
    with pytest.raises(IndexFileError):
        manager.load(f"index:{path}")
    assert manager.loaded() == []


def test_pitch_estimators_of_the_cpu_stay_there(families: Families) -> None:
    family = families.get("f0")
    assert not family.runs_on(families.key("f0:swift"), "cuda:0")
    assert family.runs_on(families.key("f0:rmvpe"), "cuda:0")


def test_models_know_their_sample_rate(manager: ModelManager, voice: Path) -> None:
    with manager.acquire_all(["voice:anna", "f0:pyin"]) as (speaker, pitch):
        assert (speaker.sample_rate, pitch.sample_rate) == (40000, 16000)


def test_a_voice_trained_anew_is_loaded_anew(manager: ModelManager, voice: Path) -> None:
    with manager.acquire("voice:anna") as old:
        os.utime(voice, ns=(1, 1))
        with manager.acquire("voice:anna") as new:
            assert old.model is not new.model


def test_without_their_packages_there_are_no_separators_or_speech(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    names = Families(built_in_families()).names()
    assert names == ["voice", "encoder", "f0", "index"]
    with pytest.raises(ConfigError, match="separator"):
        Families(built_in_families()).get("separator")


def test_a_cache_that_is_the_workspaces_own_need_not_be_said(families, workspace) -> None:
    own = f"encoder:contentvec?cache={workspace.cache}"
    assert families.key(own) == families.key("encoder:contentvec")
    assert families.key(f"f0:rmvpe?cache={workspace.cache}") == families.key("f0:rmvpe")


def test_another_cache_is_where_weights_are_looked_for(families, tmp_path: Path) -> None:
    for name in ("encoder:contentvec", "f0:rmvpe"):
        key = families.key(f"{name}?cache={tmp_path / 'far'}")
        assert key != families.key(name)
        (file,) = families.get(key.family).files(key)
        assert file.is_relative_to(tmp_path / "far")


def test_what_lies_in_no_cache_is_one_model_whichever_is_meant(families, encoder: Path) -> None:
    for name in ("encoder:tiny", f"encoder:{encoder}", "f0:swift"):
        assert families.key(f"{name}?cache=/far") == families.key(name)


def test_an_index_can_be_kept_away_from_the_gpu(families, index: Path) -> None:
    family, key = families.get("index"), families.key(f"index:{index}?device=cpu")
    assert family.runs_on(key, "cpu") and not family.runs_on(key, "cuda:0")
    assert family.runs_on(families.key(f"index:{index}"), "cuda:0")
