"""The buttons of the voice library, pressed without a browser."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

import gradio as gr
import numpy as np
from page_materials import write_small_voice

from rvc_colab.errors import DatasetError, RVCError, VoiceError
from rvc_colab.features.retrieval import build_index, write_index
from rvc_colab.store.checkpoint import (
    TrainingCheckpoint,
    read_voice,
    write_training_checkpoint,
    write_voice,
)
from rvc_colab.ui.page import Page, PageOptions
from rvc_colab.ui.server import make_page
from rvc_colab.ui.texts import Wording, say
from rvc_colab.ui.voice_cards import cards
from rvc_colab.ui.voices_tab import VoicesTab
from rvc_colab.workspace import Workspace

REQUEST: Any = SimpleNamespace(cookies={}, headers={}, session_hash="x")


@pytest.fixture
def page(tmp_path: Path) -> Page:
    made = make_page(Workspace(tmp_path / "workspace"), PageOptions())
    for name in ("anna", "dora"):
        write_small_voice(made.workspace.weights / f"{name}.pth")
    return made


@pytest.fixture
def tab(page: Page) -> VoicesTab:
    made = VoicesTab(page, Wording())
    with gr.Blocks():
        made.build()
        elsewhere = gr.Dropdown()
        made.join([elsewhere, *made.voice_lists])
    return made


def _chosen(answer: list[Any], tab: VoicesTab) -> Any:
    """Return what the list of the tab shows after an answer."""
    return answer[-len(tab.lists) :][tab.lists.index(tab.voice)]["value"]


def test_a_rename_is_followed_by_every_list(tab: VoicesTab, page: Page) -> None:
    answer = tab.rename(REQUEST, "dora", "emma", "dora", "dora", "anna", None)
    assert (page.workspace.weights / "emma.pth").is_file()
    assert not (page.workspace.weights / "dora.pth").exists()
    values = [update.get("value", "kept") for update in answer[-4:]]
    assert values == ["emma", "emma", "kept", "kept"]
    assert "emma" in answer[0] and say("voices.renamed", name="emma") in answer[1]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "anna"])
def test_a_rename_cannot_leave_the_folder_or_take_anothers_place(
    tab: VoicesTab, page: Page, name: str
) -> None:
    with pytest.raises(RVCError):
        tab.rename(REQUEST, "dora", name, *([None] * 4))
    assert (page.workspace.weights / "dora.pth").is_file()


def test_deletions_are_undone_one_after_the_other(tab: VoicesTab, page: Page) -> None:
    write_small_voice(page.workspace.weights / "fred.pth")
    removed: list[str] = []
    for name in ("dora", "fred"):
        removed, *answer = tab.delete(REQUEST, removed, name, name, None, None)
        assert _chosen(answer, tab) is None
        assert answer[-4]["value"] is None  # the other list showed it too
    assert not list(page.workspace.weights.glob("[df]*.pth"))
    for name in ("fred", "dora"):
        removed, *answer = tab.undo(REQUEST, removed)
        assert _chosen(answer, tab) == name
    assert removed == [] and (page.workspace.weights / "dora.pth").is_file()
    with pytest.raises(VoiceError):
        tab.undo(REQUEST, removed)


def test_the_demo_cannot_be_deleted(tab: VoicesTab) -> None:
    with pytest.raises(VoiceError, match="part of the package"):
        tab.delete(REQUEST, [], None, "demo", None, None)


def test_an_export_holds_voice_index_and_card(tab: VoicesTab, page: Page) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 256)).astype("float32")
    path = page.workspace.indexes / "added_IVF7_Flat_nprobe_1_dora_v1.index"
    write_index(path, build_index([rows], 0))
    link = tab.export(REQUEST, "dora")
    made = [p for p in page.outputs.rglob("dora.zip") if str(p) in link]
    with zipfile.ZipFile(made[0]) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".pth", ".index", ".json"}


def test_information_names_no_places(tab: VoicesTab, page: Page) -> None:
    told = tab.info(REQUEST, "dora")
    assert "dora.pth" in told and str(page.workspace.root) not in told


def test_a_merge_weighs_the_first(tab: VoicesTab, page: Page) -> None:
    voice = read_voice(page.workspace.weights / "anna.pth")
    zero = {key: tensor * 0 for key, tensor in voice.weights.items()}
    write_voice(page.workspace.weights / "zero.pth", zero, voice.config, voice.metadata)
    answer = tab.merge(REQUEST, "anna", "zero", 0.25, "gerda")
    merged, key = read_voice(page.workspace.weights / "gerda.pth"), "dec.conv_pre.weight"
    assert float((merged.weights[key] / voice.weights[key]).median()) == pytest.approx(0.25, 0.01)
    assert _chosen(answer, tab) == "gerda"
    with pytest.raises(VoiceError, match="already"):
        tab.merge(REQUEST, "anna", "zero", 0.5, "gerda")


def test_voices_that_do_not_fit_are_not_merged(tab: VoicesTab, page: Page) -> None:
    voice = read_voice(page.workspace.weights / "anna.pth")
    other = replace(voice.metadata, encoder="contentvec")
    write_voice(page.workspace.weights / "other.pth", voice.weights, voice.config, other)
    with pytest.raises(VoiceError, match="different encoders"):
        tab.merge(REQUEST, "anna", "other", 0.5, "mixed")
    assert not (page.workspace.weights / "mixed.pth").exists()


def test_a_voice_is_made_of_a_checkpoint(tab: VoicesTab, page: Page, tmp_path: Path) -> None:
    weights = dict(read_voice(page.workspace.weights / "anna.pth").weights)
    path = page.uploads / "G_77.pth"
    write_training_checkpoint(path, TrainingCheckpoint(weights, "generator", epoch=77))
    answer = tab.repair(REQUEST, str(path), "helga")
    assert _chosen(answer, tab) == "helga"
    assert read_voice(page.workspace.weights / "helga.pth").metadata.epoch == 77
    with pytest.raises(VoiceError, match="No checkpoint"):
        tab.repair(REQUEST, None, "ida")


def test_an_index_is_rebuilt_only_where_there_was_a_training(tab: VoicesTab) -> None:
    with pytest.raises(DatasetError):
        tab.rebuild(REQUEST, "dora")


def test_untouched_fields_are_none_and_mean_nothing(tab: VoicesTab) -> None:
    assert "dora" in tab.show(REQUEST, None, None)
    for press in (
        lambda: tab.bring(REQUEST, None, None, None),  # type: ignore[arg-type]
        lambda: tab.rename(REQUEST, "dora", None, *([None] * 4)),  # type: ignore[arg-type]
        lambda: tab.merge(REQUEST, "anna", "dora", 0.5, None),  # type: ignore[arg-type]
        lambda: tab.delete(REQUEST, [], *([None] * 4)),
        lambda: tab.export(REQUEST, None),  # type: ignore[arg-type]
    ):
        with pytest.raises(RVCError):
            press()


def test_a_card_can_be_chosen_and_says_whether_it_is(tab: VoicesTab, page: Page) -> None:
    assert tab.pick("do|ra|1700000000000") == "do|ra" and isinstance(tab.pick(None), dict)
    drawn = cards(page, "dor", "en", "dora")
    assert 'data-voice="dora" aria-pressed="true"' in drawn and "anna" not in drawn
