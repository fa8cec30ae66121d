"""The tab of the voice library: cards, and all that can be done with a voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from rvc_colab.errors import VoiceError
from rvc_colab.store.voices import remove_voice, rename_voice, restore_voice, show_voice
from rvc_colab.ui.access import person_of
from rvc_colab.ui.events import IN_ORDER, SWIFT, PageProgress, on
from rvc_colab.ui.job_view import card, line
from rvc_colab.ui.library import export_link, import_from, merge, rebuild_index, repair
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import Wording, language_of, say
from rvc_colab.ui.voice_cards import cards, info_table, voice_choices

BAR = gr.Progress()


class VoicesTab:
    """Build the tab and answer its buttons. `lists` are all lists of voices on the page."""

    def __init__(self, page: Page, words: Wording) -> None:
        self.page, self.words = page, words
        self.lists: list[Any] = []

    def build(self) -> None:
        """Lay out the controls."""
        words = self.words
        with gr.Row():
            self.search = words(
                gr.Textbox(elem_id="voices-search", max_lines=1), label="voices.search"
            )
            self.voice = words(
                gr.Dropdown(voice_choices(self.page), value=None, elem_id="voices-voice"),
                label="voices.voice",
            )
        self.shown = gr.HTML(elem_id="voices-cards")
        self.said = gr.HTML(elem_id="voices-said")
        self.picked = words(
            gr.Textbox(elem_id="voices-picked", elem_classes="rvc-away"), label="voices.voice"
        )
        self.removed = gr.State([])
        with gr.Row():
            with gr.Column(min_width=300):
                self._build_import()
                self._build_merge()
            with gr.Column(min_width=300):
                self._build_change()
                self._build_repair()

    def _build_import(self) -> None:
        words = self.words
        with words(gr.Accordion(open=True), label="voices.import"):
            self.file = words(
                gr.File(type="filepath", height=120, elem_id="voices-file"),
                label="voices.import_file",
            )
            self.source = words(
                gr.Textbox(elem_id="voices-source", max_lines=1),
                label="voices.import_source",
                info="voices.import_help",
            )
            self.import_name = words(
                gr.Textbox(max_lines=1, elem_id="voices-import-name"), label="voices.import_name"
            )
            self.import_button = words(
                gr.Button(variant="primary", elem_id="voices-import"), value="voices.import_go"
            )

    def _build_change(self) -> None:
        words = self.words
        with words(gr.Accordion(open=True), label="voices.change"):
            self.new_name = words(
                gr.Textbox(max_lines=1, elem_id="voices-new-name"), label="voices.new_name"
            )
            with gr.Row():
                self.rename_button = words(
                    gr.Button(elem_id="voices-rename"), value="voices.rename"
                )
                self.export_button = words(
                    gr.Button(elem_id="voices-export"), value="voices.export"
                )
            with gr.Row():
                self.info_button = words(gr.Button(elem_id="voices-info"), value="voices.info")
                self.delete_button = words(
                    gr.Button(variant="stop", elem_id="voices-delete"), value="voices.delete"
                )
            self.undo_button = words(gr.Button(elem_id="voices-undo"), value="voices.undo")

    def _build_merge(self) -> None:
        words = self.words
        with words(gr.Accordion(open=False), label="voices.merge"):
            names = voice_choices(self.page)
            self.first = words(
                gr.Dropdown(names, value=None, elem_id="merge-first"), label="voices.first"
            )
            self.second = words(
                gr.Dropdown(names, value=None, elem_id="merge-second"), label="voices.second"
            )
            self.share = words(
                gr.Slider(0, 1, 0.5, step=0.05, elem_id="merge-share"), label="voices.share"
            )
            self.merged_name = words(
                gr.Textbox(max_lines=1, elem_id="merge-name"), label="voices.new_name"
            )
            self.merge_button = words(gr.Button(elem_id="merge-go"), value="voices.merge_go")

    def _build_repair(self) -> None:
        words = self.words
        with words(gr.Accordion(open=False), label="voices.repair"):
            self.checkpoint = words(
                gr.File(type="filepath", height=120, elem_id="repair-file"),
                label="voices.checkpoint",
            )
            self.repaired_name = words(
                gr.Textbox(max_lines=1, elem_id="repair-name"), label="voices.new_name"
            )
            self.repair_button = words(gr.Button(elem_id="repair-go"), value="voices.repair_go")
            self.index_button = words(
                gr.Button(elem_id="rebuild-index"), value="voices.rebuild_index"
            )

    @property
    def voice_lists(self) -> list[Any]:
        """The lists of voices here."""
        return [self.voice, self.first, self.second]

    def join(self, lists: list[Any]) -> None:
        """Join the buttons, now that every list of voices on the page is built."""
        self.lists = lists
        done = [self.shown, self.said, self.search, *lists]
        seen = [self.search, self.voice]
        on(self.search.change, self.show, seen, self.shown, **IN_ORDER)
        on(self.voice.change, self.show, seen, self.shown, **IN_ORDER)
        on(self.picked.change, self.pick, self.picked, self.voice, **SWIFT)
        imported = [self.file, self.source, self.import_name]
        on(self.import_button.click, self.bring, imported, done)
        on(self.rename_button.click, self.rename, [self.voice, self.new_name, *lists], done)
        on(self.delete_button.click, self.delete, [self.removed, *lists], [self.removed, *done])
        on(self.undo_button.click, self.undo, self.removed, [self.removed, *done])
        on(self.export_button.click, self.export, self.voice, self.said)
        on(self.info_button.click, self.info, self.voice, self.said)
        merged = [self.first, self.second, self.share, self.merged_name]
        on(self.merge_button.click, self.merge, merged, done)
        on(self.repair_button.click, self.repair, [self.checkpoint, self.repaired_name], done)
        on(self.index_button.click, self.rebuild, self.voice, done)

    def _done(
        self, request: gr.Request, key: str, name: str, notes: tuple[str, ...] = ()
    ) -> list[Any]:
        """Say what was done; the voice `name` is the chosen one now."""
        return self._changed(request, say(key, language_of(request), name=name), name, notes)

    def _changed(
        self, request: gr.Request, words: str, chosen: str | None, notes: tuple[str, ...] = ()
    ) -> list[Any]:
        lines = "".join(line(text) for text in (words, *notes))
        names = voice_choices(self.page)
        updates = [gr.update(choices=names) for _ in self.lists]
        updates[self.lists.index(self.voice)] = gr.update(choices=names, value=chosen)
        return [cards(self.page, "", language_of(request), chosen), card(lines), "", *updates]

    def _moved(
        self, old: str, new: str | None, made: list[Any], chosen: Sequence[Any]
    ) -> list[Any]:
        """Let every list that showed the voice `old` show `new` instead."""
        names, before = voice_choices(self.page), len(made) - len(self.lists)
        for number, value in enumerate(chosen):
            if value == old:
                made[before + number] = gr.update(choices=names, value=new)
        return made

    def show(self, request: gr.Request, search: str | None, chosen: str | None) -> str:
        """Show the cards that a search leaves."""
        return cards(self.page, search, language_of(request), chosen)

    def pick(self, picked: str | None) -> Any:
        """Choose the voice whose card was clicked: its name and the time, as page.js writes it."""
        return (picked or "").rpartition("|")[0] or gr.skip()

    def bring(
        self, request: gr.Request, file: str | None, source: str, name: str, bar: gr.Progress = BAR
    ) -> list[Any]:
        """Import a voice from an upload or from an address."""
        if file:
            source = str(self.page.own(file, person_of(request.cookies)))
        made, notes = import_from(
            self.page, source or "", bool(file), name or "", PageProgress(bar)
        )
        return self._done(request, "voices.imported", made.name, notes)

    def rename(self, request: gr.Request, name: str, new_name: str, *chosen: Any) -> list[Any]:
        """Give a voice another name."""
        path = rename_voice(self.page.voice(name), new_name or "", self.page.workspace)
        made = self._done(request, "voices.renamed", path.stem)
        return self._moved(name, path.stem, made, chosen)

    def delete(self, request: gr.Request, removed: list[str], *chosen: Any) -> list[Any]:
        """Move the chosen voice to the trash; the undo button brings it back."""
        name = self.page.voice(chosen[self.lists.index(self.voice)])
        remove_voice(name, self.page.workspace)
        words = say("voices.deleted", language_of(request), name=name)
        made = self._moved(name, None, self._changed(request, words, None), chosen)
        return [[*removed, name], *made]

    def undo(self, request: gr.Request, removed: list[str]) -> list[Any]:
        """Bring the voice back that was deleted last, then the one before it."""
        if not removed:
            raise VoiceError(
                say("voices.nothing_deleted", language_of(request)),
                "Older ones lie in the trash folder of the workspace.",
            )
        restore_voice(removed[-1], self.page.workspace)
        return [removed[:-1], *self._done(request, "voices.restored", removed[-1])]

    def export(self, request: gr.Request, name: str) -> str:
        """Offer a voice with its index and card as one zip."""
        folder = self.page.new_folder(person_of(request.cookies))
        return card(export_link(self.page, self.page.voice(name), folder))

    def info(self, request: gr.Request, name: str) -> str:
        """Say everything that the voice's file says."""
        return info_table(show_voice(self.page.voice(name), self.page.workspace))

    def merge(
        self, request: gr.Request, first: str, second: str, share: float, name: str
    ) -> list[Any]:
        """Blend two voices into a new one."""
        name = (name or "").strip()
        notes = merge(self.page, (first, second), share, name)
        return self._done(request, "voices.merged", name, notes)

    def repair(self, request: gr.Request, checkpoint: str | None, name: str) -> list[Any]:
        """Make a voice of a G_ checkpoint."""
        path = self.page.own(checkpoint, person_of(request.cookies)) if checkpoint else None
        made, notes = repair(self.page, path, name or "")
        return self._done(request, "voices.imported", made.name, notes)

    def rebuild(self, request: gr.Request, name: str) -> list[Any]:
        """Build the index of a voice again from its training run."""
        notes = rebuild_index(self.page, self.page.voice(name))
        return self._done(request, "voices.index_built", name, notes)
