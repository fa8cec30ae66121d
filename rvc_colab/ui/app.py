"""The page itself: its head, its tabs, and the change of language."""

from __future__ import annotations

import html
import logging
from typing import Any, Protocol

import gradio as gr

from rvc_colab.ui.convert_tab import ConvertTab
from rvc_colab.ui.endpoints import add_endpoints
from rvc_colab.ui.events import FOLLOWS, SWIFT, on
from rvc_colab.ui.machine_tab import MachineTab
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import DEFAULT, Wording, language_of, languages, say
from rvc_colab.ui.train_tab import TrainTab
from rvc_colab.ui.versions import look_of_blocks
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
            gr.HTML(f"<h1>{TITLE}</h1>")
            language = gr.Dropdown(
                [(name, code) for code, name in languages().items()],
                value=DEFAULT,
                elem_id="language",
                min_width=120,
            )
            words(language, label="language.label")
            dark = words(gr.Button(size="sm", elem_id="dark", min_width=80), value="dark")
        tabs = make_tabs(page, words)
        with gr.Tabs():
            for name, tab in tabs.items():
                with words(gr.Tab(id=name, elem_id=f"tab-{name}"), label=f"{name}.tab"):
                    build_safely(name, tab, words)
        add_endpoints(page)
        dark.click(None, js=SWITCH_DARK)
        blocks.load(None, js=RESTORE_DARK)
        switched = _join_language(words, language, blocks)
        for arrived in (blocks.load, switched.then):
            _join_arrival(tabs, arrived)
        if hasattr(tabs["voices"], "index_button"):
            tabs["voices"].join()
    return blocks


def make_tabs(page: Page, words: Wording) -> dict[str, Any]:
    """Make the tabs, not built yet, in the order in which they stand."""
    convert, machine = ConvertTab(page, words), MachineTab(page, words)

    def voice_lists() -> list[Any]:
        return [tab.voice for tab in (convert, machine) if hasattr(tab, "voice")]

    voices = VoicesTab(page, words, voice_lists)
    return {
        "convert": convert,
        "voices": voices,
        "train": TrainTab(page, words),
        "machine": machine,
    }


def _join_arrival(tabs: dict[str, Any], arrived: Any) -> None:
    """Bring what changes up to date when somebody comes, or speaks another language."""
    train, voices, convert, machine = (tabs[n] for n in ("train", "voices", "convert", "machine"))
    if hasattr(convert, "result"):
        on(arrived, convert.show_card, convert.voice, convert.card, **SWIFT)
        found = on(arrived, convert.resume, None, convert.job, **SWIFT)
        on(found.then, convert.follow, convert.job, convert.result, **FOLLOWS)
    if hasattr(machine, "report"):
        on(arrived, machine.look, None, machine.shown, **SWIFT)
    if hasattr(voices, "index_button"):
        on(arrived, voices.refresh, None, [voices.shown, *voices.lists], **SWIFT)
    if hasattr(train, "timer"):
        on(arrived, train.greet, None, train.greeted, **SWIFT)


def build_safely(name: str, tab: Tab, words: Wording) -> None:
    """Build a tab; when that fails, show why in its place."""
    mark = words.mark()
    context = gr.context.Context.block
    children = list(context.children) if context is not None else []
    try:
        tab.build()
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


def _join_language(words: Wording, language: gr.Dropdown, blocks: gr.Blocks) -> Any:
    """Let the page speak what the browser asks for, then what is chosen; return that event."""

    def greet(request: gr.Request) -> list[Any]:
        code = language_of(request)
        return [gr.update(value=code), *words.updates(code)]

    on(blocks.load, greet, None, [language, *words.components], **SWIFT)
    return on(
        language.input, words.updates, language, words.components, js=SWITCH_LANGUAGE, **SWIFT
    )
