"""The report: one page with all in it, and a verdict in one line."""

import re
from pathlib import Path

import pytest

from rvc_colab.config import TrainingConfig
from rvc_colab.training import recipe
from rvc_colab.training.report import verdict
from rvc_colab.training.state import Position
from rvc_colab.training.validation import PATIENCE
from rvc_colab.workspace import Workspace


@pytest.mark.usefixtures("stand_ins")
def test_the_page_holds_curves_sounds_settings_and_origin_and_loads_nothing(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    result = recipe.train("anna", recordings, tiny_config, workspace)
    page = (workspace.run("anna") / "report.html").read_text(encoding="utf-8")
    assert page.count("<polyline") >= 3 and "data:audio/flac;base64," in page
    assert "hidden_channels" in page and result.report["dataset_fingerprint"] in page
    assert "anna.pth" in page and result.report["verdict"] in result.in_words()
    loaded = [link for link in re.findall(r'(?:src|href)="([^"]+)', page) if link[:5] != "data:"]
    assert loaded == []


@pytest.mark.parametrize(
    ("smoothed", "worse", "words"),
    [(0.5, 0, "still getting better"), (0.501, PATIENCE, "no better"), (0.6, PATIENCE, "overtrai")],
)
def test_the_verdict_follows_the_held_out_score(smoothed: float, worse: int, words: str) -> None:
    position = Position(9, 3, best_step=5, best_epoch=2, best_score=0.5)
    position.smoothed_score, position.worse = smoothed, worse
    assert words in verdict(position, 12.0, "finished")


def test_without_measurements_the_verdict_promises_nothing() -> None:
    assert "nothing says how good" in verdict(Position(9, 3), 12.0, "finished")
