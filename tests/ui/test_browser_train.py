"""Training through the page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_browser import (
    choose,
    fill,
    give_files,
    open_tab,
    shot,
    take_example,
    wait_for_text,
    wait_until,
)
from page_materials import write_tone

from rvc_colab.store.checkpoint import read_voice
from rvc_colab.ui.texts import say


def _steps(folder: Path) -> list[int]:
    """Return the steps that a run's diary tells of."""
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [int(json.loads(line)["step"]) for line in lines if line.endswith("}")]


def _recordings(folder: Path) -> list[Path]:
    tones = {"first": 180.0, "second": 200.0}
    return [write_tone(folder / f"{name}.wav", 3.0, hertz) for name, hertz in tones.items()]


def _fill_in(page: Any, name: str, files: list[Path], steps: str = "") -> None:
    open_tab(page, "train")
    fill(page, "#train-name", name)
    give_files(page, "#train-files", *files)
    if steps:
        page.get_by_text(say("convert.more"), exact=True).locator("visible=true").click()
        fill(page, "#setting-max-steps", steps)


def test_five_steps_make_a_voice_that_converts(visit: Any, opened: Any, tmp_path: Path) -> None:
    page = visit()
    _fill_in(page, "five", _recordings(tmp_path), "5")
    page.click("#train-look")
    page.wait_for_selector("#train-report table")
    assert page.locator("#train-report tbody tr").count() == 2
    page.click("#train-start")
    wait_for_text(page, "#train-state", say("train.state.done"))
    voice = opened.page.workspace.weights / "five.pth"
    assert read_voice(voice).weights
    assert max(_steps(opened.page.workspace.run("five"))) == 5
    page.reload()
    page.wait_for_selector("#convert-card .rvc-card")
    choose(page, "#convert-voice", "five")
    take_example(page)
    page.click("#convert-go")
    page.wait_for_selector(".rvc-compare")
    _rebuild_the_index(page, opened.page.workspace.indexes, "five")


def _rebuild_the_index(page: Any, folder: Path, name: str) -> None:
    (index,) = folder.glob(f"*_{name}_*.index")
    before = index.read_bytes()
    index.unlink()
    open_tab(page, "voices")
    choose(page, "#voices-voice", name)
    page.get_by_text(say("voices.repair"), exact=True).click()
    page.click("#rebuild-index")
    wait_for_text(page, "#voices-said", say("voices.index_built", name=name))
    assert index.read_bytes() == before


def test_a_training_is_stopped_and_goes_on_after_the_browser_was_closed(
    visit: Any, opened: Any, tmp_path: Path
) -> None:
    folder = opened.page.workspace.run("clara")
    page = visit()
    _fill_in(page, "clara", _recordings(tmp_path))
    page.click("#train-start")
    wait_for_text(page, "#train-state", "clara")
    page.close()
    wait_until(lambda: opened.page.jobs.find("clara").done >= 3, "three steps are done")
    page = visit()  # the same person comes back
    open_tab(page, "train")
    wait_for_text(page, "#train-state", "clara")
    shot(page, "page-train")
    page.click("#train-stop")
    wait_for_text(page, "#train-state", say("train.state.stopped"))
    assert (opened.page.workspace.weights / "clara.pth").is_file()
    first, before = opened.page.jobs.find("clara"), max(_steps(folder))
    page.reload()
    page.wait_for_selector("#convert-card .rvc-card")
    open_tab(page, "train")
    choose(page, "#train-runs", "clara")
    page.click("#train-start")
    wait_until(lambda: max(_steps(folder)) > before, "more steps are done")
    assert opened.page.jobs.find("clara") is not first
    page.click("#train-stop")
    wait_for_text(page, "#train-state", say("train.state.stopped"))
    again = _steps(folder)[_steps(folder).index(before) + 1 :]
    assert again and min(again) > 1, "it began anew"
