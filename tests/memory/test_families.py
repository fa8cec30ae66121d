"""Families: keys as text, the registry, and a family that another package installs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from simulated_memory import MIB, SimulatedDevice

from rvc_colab.config import GpuConfig
from rvc_colab.errors import ConfigError
from rvc_colab.memory.families import Families, Family, ModelKey, Placement
from rvc_colab.memory.manager import ModelManager

# A package as a stranger would write it: two files per model, text in, a rate of its own.
STRANGER = """
import json
from pathlib import Path
from rvc_colab.memory.families import Family

class Chant:
    def __init__(self, weights, rate, device):
        self.weights, self.sample_rate, self.device = weights, rate, device
    def speak(self, text):
        return [len(word) * self.weights[0] for word in text.split()]

class ChantFamily(Family):
    name = "chant"
    takes = "text"
    def files(self, key):
        return [Path(key.name) / "weights.bin", Path(key.name) / "config.json"]
    def load(self, key, placement):
        weights, config = self.files(key)
        rate = json.loads(config.read_text())["rate"]
        return Chant(weights.read_bytes(), rate, placement.device)
"""
ENTRY_POINTS = """[rvc_colab.model_families]
chant = chant_voices:ChantFamily
broken = chant_voices:NotThere
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with a family into a folder of the import path; return a model of it."""
    site = tmp_path / "site"
    info = site / "chant_voices-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "chant_voices.py").write_text(STRANGER, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chant-voices\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    model = tmp_path / "plain chant"
    model.mkdir()
    (model / "weights.bin").write_bytes(b"\x02" * MIB)
    (model / "config.json").write_text('{"rate": 22050}')
    yield model
    sys.modules.pop("chant_voices", None)


def test_an_installed_family_is_found_loaded_and_measured(stranger: Path) -> None:
    families = Families()
    assert families.install_entry_points() == ["chant"]
    config = GpuConfig(max_memory_usage_percent=100)
    manager = ModelManager(families, SimulatedDevice(8 * MIB), config)
    with manager.acquire(f"chant:{stranger}") as lease:
        assert lease.model.speak("kyrie eleison") == [10, 14]
        assert (lease.sample_rate, lease.device) == (22050, "cuda:0")
        assert manager.used("cuda:0") == pytest.approx(1.5 * MIB, rel=0.01)


def test_a_broken_family_is_named_and_the_others_stay(stranger: Path, caplog) -> None:
    families = Families()
    families.install_entry_points()
    assert families.names() == ["chant"]
    (problem,) = families.problems
    assert "'broken' (chant_voices:NotThere) failed" in problem and problem in caplog.text


def test_an_installed_family_cannot_replace_ours(stranger: Path) -> None:
    class Ours(Family):
        name = "chant"

    ours = Ours()
    families = Families([ours])
    assert families.install_entry_points() == []
    assert families.get("chant") is ours
    assert any("registered already" in problem for problem in families.problems)


@pytest.mark.parametrize(
    "key",
    [
        ModelKey("voice", "/voices/anna.pth"),
        ModelKey("f0", "rmvpe", (("high", "1100"), ("weights", "/a b/r&d.pt"))),
        ModelKey("voice", "C:\\voices\\anna.pth"),
        ModelKey("voice", "/voices/who?.pth"),
    ],
)
def test_a_key_survives_its_text_form(key: ModelKey) -> None:
    assert ModelKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", "voice", "voice:", ":anna", "?a=b"])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names no model"):
        ModelKey.parse(text)


def test_what_is_no_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="no model family"):
        Families().register(object())  # type: ignore[arg-type]


def test_the_usual_estimate_follows_the_file_and_the_precision(tmp_path: Path) -> None:
    class Plain(Family):
        name, resident_factor, working_factor = "plain", 1.0, 0.5

    path = tmp_path / "model.bin"
    path.write_bytes(bytes(4000))
    family = Plain()
    key = family.key(str(path))
    whole, half = (family.estimate(key, Placement("cpu", d)) for d in ("float32", "float16"))
    assert (whole.resident, whole.working) == (4000, 2000)
    assert (half.resident, half.working) == (2000, 1000)
