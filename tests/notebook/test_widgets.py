"""What cells show, with ipywidgets and without it; errors end in their sentence."""

from __future__ import annotations

import dataclasses
import wave
from pathlib import Path
from typing import Any

import pytest

from rvc_colab.errors import Cancelled, VoiceError
from rvc_colab.notebook import jobs, widgets
from rvc_colab.notebook.jobs import DONE, FAILED, RUNNING, STOPPED, Job, JobState
from rvc_colab.notebook.widgets import CellStop, Panel, card, carded, curve_svg, panel_html

RUN = JobState(
    "train", "Training <ann>", RUNNING, 1, 100.0, 160.0, "Training", 30, 120, 90.0, "mel 21.5"
)


class StoredJob(Job):
    """A job whose state the test sets."""

    def __init__(self, folder: Path, state: JobState) -> None:
        super().__init__(folder)
        jobs.write_state(folder, state)
        self.stops = 0

    def state(self) -> JobState:
        return jobs.read_state(self.folder)

    def stop(self) -> None:
        self.stops += 1
        jobs.write_state(self.folder, dataclasses.replace(self.state(), status=STOPPED))


@pytest.fixture
def job(tmp_path: Path) -> StoredJob:
    return StoredJob(tmp_path, RUN)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A notebook that shows things; returns what was displayed."""
    shown: list[Any] = []
    monkeypatch.setattr(widgets, "_kernel", lambda: True)
    monkeypatch.setattr(widgets, "_display", shown.append)
    return shown


@pytest.fixture
def no_ipywidgets(monkeypatch: pytest.MonkeyPatch) -> None:
    find = widgets.importlib.util.find_spec
    monkeypatch.setattr(
        widgets.importlib.util, "find_spec", lambda n: None if n == "ipywidgets" else find(n)
    )


def test_the_panel_says_stage_progress_time_left_and_losses(job: StoredJob) -> None:
    text = panel_html(job, RUN)
    assert "Training 30/120" in text and "1:30 left" in text and "mel 21.5" in text
    assert "width:25.0%" in text


def test_words_of_a_job_are_escaped(job: StoredJob) -> None:
    assert "<ann>" not in panel_html(job, RUN) and "&lt;ann&gt;" in panel_html(job, RUN)


def test_the_panel_shows_the_last_log_lines(job: StoredJob) -> None:
    (job.folder / jobs.LOG).write_text("first\n" * 9 + "the last <line>\n")
    assert "the last &lt;line&gt;" in panel_html(job, RUN)


def test_a_failed_job_shows_its_two_lines_and_no_bar(job: StoredJob) -> None:
    failed = dataclasses.replace(RUN, status=FAILED, message="It broke.", hint="Mend it.")
    text = panel_html(job, failed)
    assert "It broke." in text and "Mend it." in text and "width:" not in text.split("</b>")[1]


def test_the_curve_goes_down_where_the_loss_does() -> None:
    svg = curve_svg([{"step": 1, "mel": 4.0}, {"step": 2, "mel": 2.0}, {"step": 3, "mel": 1.0}])
    points = svg.split('points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights) and heights[0] < heights[-1]  # SVG counts downwards
    assert "mel loss 1 at step 3" in svg


def test_a_curve_needs_two_finite_points() -> None:
    assert curve_svg([]) == "" and curve_svg([{"step": 1, "mel": 1.0}]) == ""
    nan = float("nan")
    assert curve_svg([{"step": 1, "mel": nan}, {"step": 2, "mel": 3.0}]) == ""


def test_with_ipywidgets_the_panel_is_a_box_with_a_stop_button(
    job: StoredJob, kernel: list[Any]
) -> None:
    panel = Panel(job).show()
    assert kernel == [panel.box] and "Training 30/120" in panel._body.value
    panel._stop.click()
    assert job.stops == 1 and panel._stop.disabled
    assert "saved" in panel._body.value


def test_without_ipywidgets_the_panel_is_text(
    job: StoredJob, kernel: list[Any], no_ipywidgets: None, capsys: pytest.CaptureFixture[str]
) -> None:
    Panel(job).show()
    assert kernel == []
    assert "Training 30/120, about 1:30 left" in capsys.readouterr().out


def test_without_ipywidgets_a_background_job_says_how_to_look(
    job: StoredJob, no_ipywidgets: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Panel(job).follow() is None
    assert "background" in capsys.readouterr().out


def test_a_broken_ipywidgets_costs_only_the_display(
    job: StoredJob, kernel: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("incompatible traitlets")

    monkeypatch.setattr(widgets.importlib, "import_module", broken)
    assert widgets.ipywidgets() is None


@pytest.mark.parametrize("with_widgets", [True, False])
def test_a_finished_conversion_is_played(
    with_widgets: bool,
    job: StoredJob,
    kernel: list[Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    if not with_widgets:
        request.getfixturevalue("no_ipywidgets")
    sound = _sound(tmp_path / "out.wav")
    done = dataclasses.replace(RUN, status=DONE, result={"target": str(sound)})
    jobs.write_state(job.folder, done)
    panel = Panel(job).show()
    panel.attend()
    shown = panel._body.value if with_widgets else kernel[-1].data
    assert "<audio" in shown and "data:audio/wav;base64," in shown


def test_a_finished_training_plays_its_newest_sample(job: StoredJob, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (10, 200):
        _sound(run / "samples" / f"sample_step{step:08d}.flac")
    done = dataclasses.replace(RUN, status=DONE, history=str(run / "history.jsonl"))
    assert widgets.sound_of(done) == run / "samples" / "sample_step00000200.flac"


def test_the_panel_follows_from_a_thread_until_the_end(job: StoredJob, kernel: list[Any]) -> None:
    panel = Panel(job).show()
    thread = panel.follow()
    assert thread is not None
    jobs.write_state(job.folder, dataclasses.replace(RUN, status=DONE))
    thread.join(30)
    assert not thread.is_alive() and "done" in panel._body.value


def test_a_card_ends_the_cell_in_two_lines_without_a_traceback() -> None:
    with pytest.raises(CellStop) as caught, card():
        raise VoiceError("No such voice.", "Import one.")
    assert caught.value._render_traceback_() == ["✗ No such voice.", "→ Import one."]


def test_a_card_names_an_unexpected_error_and_its_place() -> None:
    with pytest.raises(CellStop) as caught, card():
        raise ZeroDivisionError("division by zero")
    assert "ZeroDivisionError: division by zero, at test_widgets.py:" in caught.value.message


def test_a_card_puts_a_full_disk_into_words() -> None:
    with pytest.raises(CellStop, match="full"), card():
        raise OSError(28, "No space left on device")


def test_a_card_lets_an_interrupt_through() -> None:
    with pytest.raises(KeyboardInterrupt), card():
        raise KeyboardInterrupt


def test_debug_shows_the_error_itself() -> None:
    with pytest.raises(VoiceError), card(debug=True):
        raise VoiceError("No such voice.")


def test_a_carded_verb_keeps_its_name_and_result() -> None:
    @carded
    def verb(value: int) -> int:
        """Say it."""
        if value < 0:
            raise Cancelled()
        return value

    assert verb(3) == 3 and verb.__name__ == "verb"
    with pytest.raises(CellStop):
        verb(-1)


def test_a_long_sound_travels_as_mp3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "PLAIN_BYTES", 1000)
    monkeypatch.setattr(widgets, "PLAYED_SECONDS", 10.0)
    data, kind, note = widgets.player_data(_sound(tmp_path / "long.wav", 12 * 16000))
    assert kind == "mpeg" and 0 < len(data) < 200_000 and "first" in note


def _sound(path: Path, samples: int = 1600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * samples)
    return path


def test_a_cell_that_waits_shows_no_button_that_could_not_answer(
    job: StoredJob, kernel: list[Any]
) -> None:
    panel = Panel(job).show()
    assert panel._stop.layout.display != "none"
    jobs.write_state(job.folder, dataclasses.replace(RUN, status=DONE))
    panel.attend()
    assert panel._stop.layout.display == "none"
