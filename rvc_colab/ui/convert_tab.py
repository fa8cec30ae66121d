"""The tab that converts: sound in, a voice, few settings, and both sounds side by side."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from rvc_colab.audio.files import WRITABLE_FORMATS
from rvc_colab.config import ConversionConfig
from rvc_colab.errors import Cancelled
from rvc_colab.ui.access import person_of
from rvc_colab.ui.conversions import Outcome, Wish, convert_files, row_of, zip_results
from rvc_colab.ui.events import GPU, SWIFT, PageProgress, on
from rvc_colab.ui.forms import PRESETS, controls, preset_updates, read_settings
from rvc_colab.ui.page import Page
from rvc_colab.ui.pictures import look_at, table
from rvc_colab.ui.player import Side, compare, file_address
from rvc_colab.ui.texts import Wording, language_of, say
from rvc_colab.ui.voice_cards import card_of_name, voice_choices

BAR = gr.Progress()
COLUMNS = ("source", "result", "seconds", "notes")


class ConvertTab:
    """Build the tab and answer its buttons."""

    def __init__(self, page: Page, words: Wording) -> None:
        self.page, self.words = page, words
        self.settings: dict[str, Any] = {}

    def build(self) -> None:
        """Lay out the controls and join them."""
        words = self.words
        with gr.Row():
            with gr.Column(min_width=300):
                self._build_sources()
            with gr.Column(min_width=300):
                self._build_voice()
        with gr.Row():
            self.go = words(gr.Button(variant="primary", elem_id="convert-go"), value="convert.go")
            self.stop = words(gr.Button(elem_id="convert-stop"), value="convert.stop")
        self.result = gr.HTML(elem_id="convert-result")
        self._join()

    def _build_sources(self) -> None:
        words = self.words
        self.source = words(
            gr.Audio(sources=["upload", "microphone"], type="filepath", elem_id="convert-source"),
            label="convert.source",
        )
        names = sorted(path.name for path in self.page.examples.iterdir() if path.is_file())
        self.example = words(
            gr.Dropdown(names, value=None, elem_id="convert-example"), label="convert.example"
        )
        with words(gr.Accordion(open=False), label="convert.several"):
            self.files = words(
                gr.File(file_count="multiple", type="filepath", elem_id="convert-files"),
                label="convert.files",
            )

    def _build_voice(self) -> None:
        words = self.words
        names = voice_choices(self.page)
        self.voice = words(
            gr.Dropdown(names, value=names[0] if names else None, elem_id="convert-voice"),
            label="convert.voice",
            info="convert.voice_help",
        )
        self.card = gr.HTML(elem_id="convert-card")
        self.preset = words(
            gr.Dropdown(value="default", elem_id="convert-preset"),
            label="convert.preset",
            choices=preset_choices,
        )
        self.settings |= controls(ConversionConfig, "view", words)
        with words(gr.Accordion(open=False), label="convert.more"):
            self.with_index = words(gr.Checkbox(True), label="convert.with_index")
            self.format = words(
                gr.Dropdown(list(WRITABLE_FORMATS), value="wav"), label="convert.format"
            )
            self.settings |= controls(ConversionConfig, "common", words)
        with words(gr.Accordion(open=False), label="form.advanced"):
            self.settings |= controls(ConversionConfig, "advanced", words)

    def _join(self) -> None:
        fields = list(self.settings.values())
        inputs = [self.source, self.files, self.voice, self.with_index, self.format, *fields]
        running = on(self.go.click, self.convert, inputs, self.result, **GPU)
        on(self.stop.click, self.cancel, None, self.result, cancels=[running], queue=False)
        on(self.example.change, self.take_example, self.example, self.source, **SWIFT)
        on(self.voice.change, self.show_card, self.voice, self.card, **SWIFT)
        names = list(self.settings)
        on(
            self.preset.change,
            lambda preset: preset_updates(preset, names),
            self.preset,
            fields,
            **SWIFT,
        )

    def convert(self, request: gr.Request, bar: gr.Progress = BAR, *values: Any) -> str:
        """Convert one sound, or several, and show what came out."""
        source, files, voice, with_index, format, *settings = values
        person, language = person_of(request.cookies), language_of(request)
        config = read_settings(ConversionConfig, list(self.settings), settings)
        wish = Wish(voice, config, bool(with_index), str(format))
        progress = PageProgress(bar)
        self.page.running[person] = progress
        try:
            sources = files or [source or ""]
            outcomes = self.page.work(convert_files, self.page, person, sources, wish, progress)
            return self.page.work(self._show, outcomes, language)
        except Cancelled:
            return stopped_card(language)
        finally:
            if self.page.running.get(person) is progress:
                del self.page.running[person]

    def _show(self, outcomes: list[Outcome], language: str) -> str:
        """Draw a single result as the comparing player, several as a table with a zip."""
        if len(outcomes) == 1 and outcomes[0].result is not None:
            result = outcomes[0].result
            sides = self._sides(outcomes[0], language)
            notes = "".join(f"<li>{html.escape(text)}</li>" for text in result.warnings)
            card = f"<p>{html.escape(result.in_words().splitlines()[0].split(': ', 1)[-1])}</p>"
            return compare(*sides, say("convert.download", language)) + card + f"<ul>{notes}</ul>"
        header = [say(f"convert.column.{name}", language) for name in COLUMNS]
        shown = table(header, [row_of(outcome) for outcome in outcomes])
        if path := zip_results(outcomes):
            words = say("convert.zip", language)
            link = f'<a class="rvc-download" download href="{file_address(path)}">⬇ {words}</a>'
            return shown + link
        return shown

    def _sides(self, outcome: Outcome, language: str) -> tuple[Side, Side]:
        """Look at both sounds; the pitch is found by the estimator that converts."""
        assert outcome.result is not None and outcome.result.target is not None
        with self.page.lifecycle.manager.acquire("f0:auto") as lease:
            looks = [look_at(p, lease.model) for p in (outcome.source, outcome.result.target)]
        titles = [say(f"convert.{name}", language) for name in ("before", "after")]
        return (
            Side(outcome.source, titles[0], looks[0]),
            Side(outcome.result.target, titles[1], looks[1]),
        )

    def take_example(self, name: str | None) -> Any:
        """Put an example into the player."""
        if not name:
            return gr.update()
        path = self.page.examples / Path(name).name
        return str(path) if path.is_file() else gr.update()

    def show_card(self, name: str | None, request: gr.Request) -> str:
        """Show the card of the chosen voice."""
        return card_of_name(self.page, name, language_of(request))

    def cancel(self, request: gr.Request) -> str:
        """Stop this person's conversion at its next safe point."""
        running = self.page.running.pop(person_of(request.cookies), None)
        if running is not None:
            running.cancel()
        return stopped_card(language_of(request))


def stopped_card(language: str) -> str:
    """Say that a conversion was stopped."""
    return f'<div class="rvc-card">{html.escape(say("convert.stopped", language))}</div>'


def preset_choices(language: str) -> list[tuple[str, str]]:
    """Name the presets in a language."""
    return [(say(f"preset.{name}", language), name) for name in PRESETS]
