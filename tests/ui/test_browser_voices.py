"""The voice library and the machine in a real browser."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_browser import choose, download, fill, give_files, open_tab, shot
from page_materials import write_small_voice

from rvc_colab.store.checkpoint import (
    TrainingCheckpoint,
    read_voice,
    write_training_checkpoint,
    write_voice,
)
from rvc_colab.ui.texts import say


def _card(page: Any, name: str) -> Any:
    return page.locator("#voices-cards strong", has_text=name)


def test_a_voice_is_imported_deleted_and_brought_back(
    visit: Any, opened: Any, tmp_path: Path
) -> None:
    write_small_voice(tmp_path / "berta.pth")
    kept = opened.page.workspace.weights / "berta.pth"
    page = visit()
    open_tab(page, "voices")
    give_files(page, "#voices-file", tmp_path / "berta.pth")
    page.click("#voices-import")
    _card(page, "berta").wait_for()
    before = kept.read_bytes()
    choose(page, "#voices-voice", "berta")
    page.click("#voices-delete")
    _card(page, "berta").wait_for(state="detached")
    assert not kept.exists()
    page.click("#voices-undo")
    _card(page, "berta").wait_for()
    assert kept.read_bytes() == before
    shot(page, "page-voices")


def test_a_search_leaves_what_it_names(visit: Any) -> None:
    page = visit()
    open_tab(page, "voices")
    _card(page, "demo").wait_for()
    fill(page, "#voices-search", "ANN")
    _card(page, "demo").wait_for(state="detached")
    assert _card(page, "anna").count() == 1


def test_a_click_on_a_card_chooses_its_voice(visit: Any) -> None:
    page = visit()
    open_tab(page, "voices")
    for name in ("anna", "demo", "anna"):
        page.locator(".rvc-pick", has_text=name).click()
        page.wait_for_selector(f".rvc-pick[data-voice={name}][aria-pressed=true]")
        assert page.input_value("#voices-voice input") == name


def test_a_voice_is_renamed_and_exported(visit: Any, opened: Any, tmp_path: Path) -> None:
    write_small_voice(opened.page.workspace.weights / "dora.pth")
    page = visit()
    open_tab(page, "voices")
    choose(page, "#voices-voice", "dora")
    fill(page, "#voices-new-name", "emma")
    page.click("#voices-rename")
    _card(page, "emma").wait_for()
    assert _card(page, "dora").count() == 0
    choose(page, "#voices-voice", "emma")
    page.click("#voices-export")
    with zipfile.ZipFile(download(page, "#voices-said a.rvc-download", tmp_path)) as archive:
        archive.extractall(tmp_path)
        assert "emma.pth" in archive.namelist()
    assert read_voice(tmp_path / "emma.pth").weights


def test_two_voices_are_merged_by_weight(visit: Any, opened: Any) -> None:
    weights = opened.page.workspace.weights
    voice = read_voice(weights / "anna.pth")
    zero = {key: tensor * 0 for key, tensor in voice.weights.items()}
    write_voice(weights / "zero.pth", zero, voice.config, voice.metadata)
    page = visit()
    open_tab(page, "voices")
    page.get_by_text(say("voices.merge"), exact=True).click()
    choose(page, "#merge-first", "anna")
    choose(page, "#merge-second", "zero")
    fill(page, "#merge-share", "0.25")
    fill(page, "#merge-name", "gerda")
    page.click("#merge-go")
    _card(page, "gerda").wait_for()
    merged, key = read_voice(weights / "gerda.pth"), "dec.conv_pre.weight"
    share = float((merged.weights[key] / voice.weights[key]).median())
    assert share == pytest.approx(0.25, abs=0.01) or share == pytest.approx(0.75, abs=0.01)


def test_a_voice_is_made_of_a_training_checkpoint(visit: Any, opened: Any, tmp_path: Path) -> None:
    voice = read_voice(opened.page.workspace.weights / "anna.pth")
    write_training_checkpoint(
        tmp_path / "G_77.pth", TrainingCheckpoint(dict(voice.weights), "generator", epoch=77)
    )
    page = visit()
    open_tab(page, "voices")
    page.get_by_text(say("voices.repair"), exact=True).click()
    give_files(page, "#repair-file", tmp_path / "G_77.pth")
    fill(page, "#repair-name", "helga")
    page.click("#repair-go")
    _card(page, "helga").wait_for()
    assert read_voice(opened.page.workspace.weights / "helga.pth").metadata.epoch == 77


def test_the_machine_is_shown_and_the_doctor_speaks(visit: Any) -> None:
    page = visit()
    open_tab(page, "machine")
    choose(page, "#machine-voice", "anna")
    page.click("#machine-load")
    page.locator("#machine-state td", has_text="anna.pth").first.wait_for()
    page.click("#machine-doctor")
    page.wait_for_function(
        "document.querySelector('#machine-report textarea').value.includes('Python')"
    )
    shot(page, "page-machine")
