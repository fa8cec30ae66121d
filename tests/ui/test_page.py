"""The page's own parts without a browser: broken tabs, cancelling, waiting trainings, pictures."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

import gradio as gr
from page_materials import write_tone

from rvc_colab.config import ConversionConfig, TrainingConfig
from rvc_colab.errors import TrainingError, VoiceError
from rvc_colab.training import recipe
from rvc_colab.ui.app import build_safely
from rvc_colab.ui.events import as_toast
from rvc_colab.ui.forms import PRESETS, fields_of, read_settings
from rvc_colab.ui.pictures import look_at, sound_picture
from rvc_colab.ui.texts import Wording, language_of
from rvc_colab.ui.training_jobs import STOPPED, TrainingJob, TrainingJobs, kept_record
from rvc_colab.workspace import Workspace


def _request(**headers: str) -> Any:
    return SimpleNamespace(cookies={}, headers=headers)


class _Broken:
    def build(self) -> None:
        gr.Button("half built")
        raise RuntimeError("no <b>luck</b>")


def test_a_tab_that_fails_shows_why_and_leaves_the_others() -> None:
    words = Wording()
    with gr.Blocks() as blocks:
        with gr.Tab("broken"):
            build_safely("broken", _Broken(), words)
        with gr.Tab("whole"):
            gr.Button("works")
    shown = [b.value for b in blocks.blocks.values() if isinstance(b, gr.HTML | gr.Button)]
    assert "works" in shown and "half built" not in shown
    assert any("no &lt;b&gt;luck" in str(value) for value in shown)


def test_an_error_says_what_to_do_next() -> None:
    toast = as_toast(VoiceError("It is broken.", "Take another."))
    assert toast.message == "It is broken. Take another."


def test_an_error_is_words_and_no_html() -> None:
    assert "<img" not in as_toast(VoiceError("No voice <img src=x onerror=y>.")).message
    assert "<img" not in as_toast(ValueError("<img src=x onerror=y>")).message


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings(preset: str) -> None:
    ConversionConfig(**PRESETS[preset])


def test_every_setting_is_in_the_form_once() -> None:
    for model in (ConversionConfig, TrainingConfig):
        shown = [f for group in ("view", "common", "advanced") for f in fields_of(model, group)]
        assert len(shown) == len(set(shown)) >= len(model.model_fields) - 3


def test_an_empty_field_was_not_given() -> None:
    config = read_settings(TrainingConfig, ["max_steps", "epochs"], ["", "7"])
    assert config.max_steps is None and config.epochs == 7


def test_the_browsers_wishes_choose_the_language() -> None:
    assert language_of(_request(**{"accept-language": "de;q=0.9, pt-BR;q=0.8"})) == "pt"
    assert language_of(_request(**{"accept-language": "de"})) == "en"


def test_a_picture_shows_the_pitch_where_it_is(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "tone.wav", 1.0)
    look = look_at(path, lambda wave: np.full(len(wave) // 160, 220.0))
    picture = sound_picture(look, 'a "tone"')
    assert look.seconds == pytest.approx(1.0) and 'class="pitch"' in picture
    assert 'a "tone"' not in picture


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trainings that only wait for their end."""
    begun = threading.Event()

    def train(name: str, folder: str, config: Any, workspace: Any, progress: Any) -> Any:
        progress.stage("Training", 10)
        progress.advance(1, "loss 1")
        begun.set()
        while not progress.cancelled:
            threading.Event().wait(0.01)
        progress.check()

    monkeypatch.setattr(recipe, "train", train)
    lifecycle = SimpleNamespace(preload_for_task=lambda t: None, cleanup_for_task=lambda t: None)
    made = TrainingJobs(Workspace(tmp_path), lifecycle)  # type: ignore[arg-type]
    yield made, begun, Workspace(tmp_path)
    made.stop_all()


def test_a_second_training_waits_and_can_be_taken_back(jobs: Any) -> None:
    line, begun, _ = jobs
    line.submit(TrainingJob("one", "folder", TrainingConfig()))
    second = line.submit(TrainingJob("two", "folder", TrainingConfig()))
    assert begun.wait(10) and line.position(second) == 1
    line.stop("two")
    assert second.state == STOPPED


def test_two_trainings_of_one_name_are_refused(jobs: Any) -> None:
    line, _, _ = jobs
    line.submit(TrainingJob("one", "folder", TrainingConfig()))
    with pytest.raises(TrainingError, match="already"):
        line.submit(TrainingJob("one", "folder", TrainingConfig()))


def test_closing_stops_what_runs_and_writes_down_how_it_stands(jobs: Any) -> None:
    line, begun, workspace = jobs
    job = line.submit(TrainingJob("one", "folder", TrainingConfig(), person="abc"))
    assert begun.wait(10)
    line.stop_all()
    kept = kept_record(workspace.run("one"))
    assert job.state == kept["state"] == STOPPED and kept["person"] == "abc"
