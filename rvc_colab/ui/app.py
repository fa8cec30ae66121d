"""The page itself: its head, its tabs, and the change of language."""

from __future__ import annotations

import html
import logging
from typing import Any, Protocol

import gradio as gr

from rvc_colab.ui.convert_tab import ConvertTab
from rvc_colab.ui.endpoints import add_endpoints
from rvc_colab.ui.events import FOLLOWS, IN_ORDER, SWIFT, on
from rvc_colab.ui.machine_tab import MachineTab
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import DEFAULT, Wording, language_of, languages, say
from rvc_colab.ui.train_tab import TrainTab
from rvc_colab.ui.versions import look_of_blocks
from rvc_colab.ui.voice_cards import voice_choices
from rvc_colab.ui.voices_tab import VoicesTab

_log = logging.getLogger(__name__)

TITLE = "RVC"
SWITCH_LANGUAGE = "(code) => { window.rvcLanguage(code); return code; }"
SWITCH_DARK = "() => { window.rvcDark(); }"
RESTORE_DARK = "() => { window.rvcRestore(); }"
KEEP_SECONDS = (3600, 24 * 3600)  # how often to look, and how long uploads stay


class Tab(Protocol):
    """One tab: builds its controls inside the tab that is open."""

    def build(self) -> None:
        """Lay out the controls and join them."""


def build_blocks(page: Page, look: dict[str, Any]) -> gr.Blocks:
    """Build the page; a tab that fails shows its error and leaves the others working."""
    words = Wording()
    settings: dict[str, Any] = {
        "title": TITLE,
        "analytics_enabled": False,
        "delete_cache": KEEP_SECONDS,
    }
    with gr.Blocks(**settings, **look_of_blocks(look)) as blocks:
        with gr.Row(elem_classes="rvc-head"):
            words(gr.HTML(elem_classes="rvc-title"), value=_title)
            language = gr.Dropdown(
                [(name, code) for code, name in languages().items()],
                value=DEFAULT,
                container=False,
                scale=0,
                min_width=140,
                elem_id="language",
            )
            words(language, label="language.label")
            dark = words(gr.Button(size="sm", scale=0, min_width=110, elem_id="dark"), value="dark")
        tabs = make_tabs(page, words)
        opened: dict[str, gr.Tab] = {}
        built: dict[str, bool] = {}
        with gr.Tabs():
            for name, tab in tabs.items():
                with words(gr.Tab(id=name, elem_id=f"tab-{name}"), label=f"{name}.tab") as place:
                    opened[name] = place
                    built[name] = build_safely(name, tab, words)
        tabs = {name: tab for name, tab in tabs.items() if built[name]}
        add_endpoints(page)
        dark.click(None, js=SWITCH_DARK)
        blocks.load(None, js=RESTORE_DARK)
        switched = _join_language(words, language, blocks)
        for arrived in (blocks.load, switched.then):
            _join_arrival(tabs, arrived)
        _join_tabs(page, tabs, opened, blocks.load)
    return blocks


def _title(language: str) -> str:
    """Say in the head what the page is for."""
    words = html.escape(say("head.what", language))
    return f'<h1>{TITLE}</h1><p class="rvc-subdued">{words}</p>'


def make_tabs(page: Page, words: Wording) -> dict[str, Any]:
    """Make the tabs, not built yet, in the order in which they stand."""
    return {
        "convert": ConvertTab(page, words),
        "voices": VoicesTab(page, words),
        "train": TrainTab(page, words),
        "machine": MachineTab(page, words),
    }


def _join_arrival(tabs: dict[str, Any], arrived: Any) -> None:
    """Bring what changes up to date when somebody comes, or speaks another language."""
    if convert := tabs.get("convert"):
        on(arrived, convert.show_card, convert.voice, convert.card, **SWIFT)
        on(arrived, convert.recall, None, convert.past, **SWIFT)
        found = on(arrived, convert.resume, convert.job, convert.job, **SWIFT)
        on(found.then, convert.follow, convert.job, convert.result, **FOLLOWS)
    if machine := tabs.get("machine"):
        on(arrived, machine.look, None, machine.seen, **SWIFT)
    if voices := tabs.get("voices"):
        on(arrived, voices.show, [voices.search, voices.voice], voices.shown, **IN_ORDER)
    if train := tabs.get("train"):
        on(arrived, train.greet, train.name, train.greeted, **SWIFT)


def _join_tabs(page: Page, tabs: dict[str, Any], opened: dict[str, gr.Tab], arrived: Any) -> None:
    """Join what one tab changes in another: the lists of voices, and who looks at the machine.

    Gradio 5 does not tell of the tab that is open at the start, so `arrived` brings the lists too.
    """
    lists = [field for tab in tabs.values() for field in getattr(tab, "voice_lists", ())]

    def refresh() -> list[Any]:
        names = voice_choices(page)
        return [gr.update(choices=names) for _ in lists]

    voices, machine = tabs.get("voices"), tabs.get("machine")
    if voices is not None:
        voices.join(lists)
    if lists:
        for moment in (arrived, *(place.select for place in opened.values())):
            on(moment, refresh, None, lists, **SWIFT)
    for name, place in opened.items():
        if machine is not None:
            watch = machine.watch if name == "machine" else machine.look_away
            on(place.select, watch, machine.live, machine.timer, **SWIFT)
        if voices is not None and name == "voices":
            on(place.select, voices.show, [voices.search, voices.voice], voices.shown, **IN_ORDER)


def build_safely(name: str, tab: Tab, words: Wording) -> bool:
    """Build a tab; when that fails, show why in its place. Tell whether it was built."""
    mark = words.mark()
    context = gr.context.Context.block
    children = list(context.children) if context is not None else []
    try:
        tab.build()
        return True
    except Exception as error:
        _log.exception("The tab %s could not be built.", name)
        words.forget(mark)
        if context is not None:
            for child in [c for c in context.children if c not in children]:
                child.unrender()
            gr.context.Context.block = context
        why = html.escape(f"{type(error).__name__}: {error}")
        title = html.escape(say("tab.failed", DEFAULT))
        gr.HTML(f'<div class="rvc-card"><strong>{title}</strong><pre>{why}</pre></div>')
        return False


def _join_language(words: Wording, language: gr.Dropdown, blocks: gr.Blocks) -> Any:
    """Let the page speak what the browser asks for, then what is chosen; return that event."""

    def greet(request: gr.Request) -> list[Any]:
        code = language_of(request)
        return [gr.update(value=code), *words.updates(code)]

    on(blocks.load, greet, None, [language, *words.components], **SWIFT)
    return on(
        language.input, words.updates, language, words.components, js=SWITCH_LANGUAGE, **SWIFT
    )
