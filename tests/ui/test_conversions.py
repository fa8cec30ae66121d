"""Conversions in line: whose they are, stopping them, batches, spoken texts, and trainings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_materials import write_tone

from rvc_colab.audio import speech
from rvc_colab.config import ConversionConfig, SpeechConfig
from rvc_colab.conversion.shared import SharedConversion
from rvc_colab.errors import AudioError, RVCError, VoiceError
from rvc_colab.memory.turns import TRAIN, Turn
from rvc_colab.progress import SilentProgress
from rvc_colab.ui.conversions import ConversionJob, Conversions, Wish
from rvc_colab.ui.convert_view import ended_view, live_view
from rvc_colab.ui.jobs import DONE, FAILED, STOPPED
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import say

PATIENCE = 60.0
WISH = Wish("anna", ConversionConfig(seed=1))


@pytest.fixture
def page(opened: Any) -> Page:
    return opened.page


@pytest.fixture
def sounds(tmp_path: Path) -> list[str]:
    return [str(write_tone(tmp_path / f"{n}.wav", 0.4 + n / 10)) for n in range(3)]


@pytest.fixture(autouse=True)
def _readable(page: Page, sounds: list[str]) -> None:
    for sound in sounds:
        page.owners.claim(sound, "ann")


@pytest.fixture
def held(page: Page) -> Iterator[threading.Event]:
    """A training has the device until the event is set."""
    end, begun = threading.Event(), threading.Event()
    turn = page.turns.join(Turn(TRAIN))

    def train() -> None:
        with page.turns.take(turn, SilentProgress()):
            begun.set()
            end.wait(PATIENCE)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    assert begun.wait(PATIENCE)
    yield end
    end.set()
    thread.join(PATIENCE)


def _ask(page: Page, sources: list[str], wish: Wish = WISH, who: str = "ann") -> ConversionJob:
    name = page.conversions.submit(page, (who, who), wish, sources)
    job = page.conversions.find(name, who)
    assert job is not None
    return job


def test_a_conversion_is_its_owners_alone(page: Page, sounds: list[str]) -> None:
    job = _ask(page, sounds[:1])
    assert job.ended.wait(PATIENCE) and job.state == DONE
    assert page.conversions.find(job.name, "eve") is None
    assert page.conversions.newest("eve") is None
    assert page.conversions.newest("ann") is job
    result = job.outcomes[0].result
    assert result is not None and result.target is not None
    assert result.target.parent.parent == page.outputs / "ann"


def test_several_files_each_have_a_row_and_whole_ones_a_place_in_the_zip(
    page: Page, sounds: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF" + bytes(100))
    page.owners.claim(broken, "ann")
    job = _ask(page, [sounds[0], str(broken), sounds[1]])
    assert job.ended.wait(PATIENCE) and job.state == DONE
    assert [bool(o.result) for o in job.outcomes] == [True, False, True]
    assert job.outcomes[1].problem and job.archive is not None
    assert "broken.wav" in ended_view(job, "en")


def test_a_waiting_conversion_stops_at_once(
    page: Page, sounds: list[str], held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedConversion, "has_room", lambda self: False)
    job = _ask(page, sounds[:1])
    standing = page.turns.standing(job.turn)
    assert say("queue.training") in live_view(job, standing, "en")
    page.conversions.line.stop(job)
    assert job.state == STOPPED and not job.outcomes
    assert say("convert.stopped") in ended_view(job, "en")
    after = _ask(page, sounds[1:2])
    held.set()
    assert after.ended.wait(PATIENCE) and after.state == DONE and not job.outcomes


def test_beside_a_training_it_says_so(
    page: Page, sounds: list[str], held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedConversion, "has_room", lambda self: True)
    job = _ask(page, sounds[:1])
    assert job.ended.wait(PATIENCE) and job.state == DONE
    assert job.turn.beside


def test_a_running_batch_stops_and_keeps_what_was_made(
    page: Page, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SharedConversion.file

    def file(self: SharedConversion, source: Any, target: Any, progress: Any = None) -> Any:
        if len(job.outcomes) == 1:
            page.conversions.line.stop(job)
        return original(self, source, target, progress)

    monkeypatch.setattr(SharedConversion, "file", file)
    begin = threading.Event()
    monkeypatch.setattr(SharedConversion, "check", lambda self: begin.wait(PATIENCE))
    job = _ask(page, sounds)
    begin.set()
    assert job.ended.wait(PATIENCE) and job.state == STOPPED
    assert [o.source.name for o in job.outcomes] == ["0.wav"]
    target = job.outcomes[0].result.target if job.outcomes[0].result else None
    assert target is not None and [p.name for p in target.parent.glob("*.wav")] == [target.name]
    shown = ended_view(job, "en")
    assert say("convert.stopped_made", made=1, all=3) in shown and "0_anna.wav" in shown


def test_a_failure_is_said_and_the_next_one_runs(
    page: Page, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SharedConversion, "check", _refuse)
        job = _ask(page, sounds[:1])
        assert job.ended.wait(PATIENCE) and job.state == FAILED
    assert "It does not fit." in ended_view(job, "en")
    after = _ask(page, sounds[:1])
    assert after.ended.wait(PATIENCE) and after.state == DONE


def _refuse(self: SharedConversion) -> None:
    raise VoiceError("It does not fit.", "Take another.")


def test_a_text_is_spoken_and_converted(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "choose_speaker", lambda config: None)
    monkeypatch.setattr(speech, "speak", lambda text, path, config: write_tone(path, 0.5))
    job = _ask(page, [], WISH.of_text("  Good morning. ", SpeechConfig()))
    assert job.ended.wait(PATIENCE) and job.state == DONE
    assert job.files[0].name == "speech.wav" and len(job.looks) == 2
    result = job.outcomes[0].result
    assert result is not None and result.target is not None
    assert result.target.name == "speech_anna.wav"


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(AudioError, match="no text"):
        WISH.of_text(" \n", SpeechConfig())


def test_the_line_has_an_end(page: Page, sounds: list[str], held: threading.Event) -> None:
    few = Conversions(page.turns, 0)
    with pytest.raises(RVCError, match="wait already"):
        few.submit(page, ("ann", "ann"), WISH, sounds[:1])


def test_who_refuses_cookies_is_not_mixed_up_with_others() -> None:
    from rvc_colab.ui.convert_tab import owner_of

    one, two = (SimpleNamespace(cookies={}, session_hash=name) for name in ("a", "b"))
    assert owner_of(one) != owner_of(two)  # type: ignore[arg-type]
