"""The documented families of another package: installed as written, used as written."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rvc_colab.errors import VoiceError
from rvc_colab.memory import default_manager, forget_process
from rvc_colab.memory.families import ModelFamily, Placement

PAGE = Path(__file__).parents[2] / "docs" / "model_families.md"
WIDTH = 300
TOLERANCE = 0.25  # of an estimate, as promised


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the package of the page; return a voice of its kind."""
    import tomllib

    points = tomllib.loads(_blocks("toml")[0])["project"]["entry-points"]
    site = tmp_path / "site"
    info = site / "outside_voices-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "outside_voices.py").write_text(_blocks("python")[0], encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-voices\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in named.items()) + "\n"
             for group, named in points.items()]  # fmt: skip
    (info / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    monkeypatch.setenv("RVC_DEVICE", "cpu")
    forget_process()
    voice = tmp_path / "anna"
    voice.mkdir()
    torch.save({"weight": torch.eye(WIDTH)}, voice / "model.pt")
    (voice / "config.json").write_text(json.dumps({"width": WIDTH, "sample_rate": 44100}))
    yield voice
    forget_process()
    sys.modules.pop("outside_voices", None)


def test_both_kinds_are_found_and_keep_to_the_protocol(folder: Path) -> None:
    families = default_manager().families
    assert {"ddsp", "say"} <= set(families.names()) and families.problems == []
    assert all(isinstance(families.get(name), ModelFamily) for name in ("ddsp", "say"))
    assert [families.get(name).takes for name in ("ddsp", "say")] == ["sound", "text"]


def test_they_are_used_as_the_page_says(folder: Path) -> None:
    heard: dict[str, object] = {"folder": folder}
    exec(_blocks("python")[1], heard)
    assert heard["rates"] == (22050, 44100)
    assert len(heard["spoken"]) == 22050 and len(heard["sung"]) == WIDTH
    assert default_manager().statistics.loads == 2  # the block itself loaded nothing
    assert default_manager().loaded() == []  # the task was over


def test_a_family_of_several_files_is_sized_by_all_of_them(folder: Path) -> None:
    manager = default_manager()
    key = manager.families.key(f"ddsp:{folder}")
    family = manager.families.get("ddsp")
    guess = family.estimate(key, Placement())
    with manager.acquire(key) as lease:
        assert guess.resident == pytest.approx(family.size(lease.model), rel=TOLERANCE)
    assert guess.working == 2 * guess.resident


def test_any_of_its_files_changed_means_loading_anew(folder: Path) -> None:
    manager = default_manager()
    manager.load(f"ddsp:{folder}")
    (folder / "config.json").write_text(json.dumps({"width": WIDTH, "sample_rate": 48000}))
    with manager.acquire(f"ddsp:{folder}") as lease:
        assert lease.sample_rate == 48000


def test_its_own_refusals_reach_the_caller(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(VoiceError, match="no DDSP voice"):
        default_manager().load(f"ddsp:{folder}")
