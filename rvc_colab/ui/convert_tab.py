"""The tab that converts: sound in, a voice, few settings, and both sounds side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from rvc_colab.audio.files import WRITABLE_FORMATS
from rvc_colab.audio.speech import MOST_CHARACTERS, speakers
from rvc_colab.config import ConversionConfig, SpeechConfig
from rvc_colab.ui.access import person_of
from rvc_colab.ui.conversions import ConversionJob, Wish
from rvc_colab.ui.convert_view import earlier, ended_view, live_view
from rvc_colab.ui.events import FOLLOWS, SWIFT, on
from rvc_colab.ui.forms import PRESETS, controls, preset_updates, read_settings
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import Wording, language_of, say
from rvc_colab.ui.voice_cards import card_of_name, voice_choices

LOOK_SECONDS = 0.2
SOUND, SEVERAL, TEXT = "sound", "several", "text"


class ConvertTab:
    """Build the tab and answer its buttons."""

    def __init__(self, page: Page, words: Wording) -> None:
        self.page, self.words = page, words
        self.settings: dict[str, Any] = {}
        self.speech: dict[str, Any] = {}

    def build(self) -> None:
        """Lay out the controls and join them."""
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self._build_sources()
                self._build_voice()
                self._build_actions()
            with gr.Column(scale=2, min_width=300):
                self._build_settings()
        self.job = gr.State("")
        self.kind = gr.State(SOUND)
        self._join()

    @property
    def voice_lists(self) -> list[Any]:
        """The lists of voices here."""
        return [self.voice]

    def _build_sources(self) -> None:
        words = self.words
        with gr.Tabs(elem_id="convert-sources"):
            with words(gr.Tab(id=SOUND), label="convert.one") as one:
                self._build_sound()
            with words(gr.Tab(id=SEVERAL), label="convert.several") as several:
                self.files = words(
                    gr.File(
                        file_count="multiple", type="filepath", height=200, elem_id="convert-files"
                    ),
                    label="convert.files",
                )
            with words(gr.Tab(id=TEXT), label="convert.speak") as text:
                self._build_text()
        self.kinds = {SOUND: one, SEVERAL: several, TEXT: text}

    def _build_sound(self) -> None:
        words = self.words
        self.source = words(
            gr.Audio(sources=["upload", "microphone"], type="filepath", elem_id="convert-source"),
            label="convert.source",
        )
        names = sorted(path.name for path in self.page.examples.iterdir() if path.is_file())
        self.example = words(
            gr.Dropdown(names, value=None, elem_id="convert-example"), label="convert.example"
        )

    def _build_text(self) -> None:
        words, is_mute = self.words, not speakers()
        if is_mute:
            words(gr.Markdown(elem_id="convert-mute"), value="convert.mute")
        self.text = words(
            gr.Textbox(
                lines=5, max_length=MOST_CHARACTERS, interactive=not is_mute, elem_id="convert-text"
            ),
            label="convert.text",
            placeholder="convert.text_help",
        )
        self.speech |= controls(SpeechConfig, "view", words)

    def _build_voice(self) -> None:
        words = self.words
        names = voice_choices(self.page)
        self.voice = words(
            gr.Dropdown(names, value=names[0] if names else None, elem_id="convert-voice"),
            label="convert.voice",
            info="convert.voice_help",
        )
        self.card = gr.HTML(elem_id="convert-card")

    def _build_actions(self) -> None:
        words = self.words
        with gr.Row(elem_classes="rvc-actions"):
            self.go = words(
                gr.Button(variant="primary", size="lg", scale=3, elem_id="convert-go"),
                value="convert.go",
            )
            self.stop = words(
                gr.Button(size="lg", scale=1, min_width=120, elem_id="convert-stop"),
                value="convert.stop",
            )
        self.result = gr.HTML(elem_id="convert-result")
        with words(gr.Accordion(open=False), label="convert.past"):
            self.past = gr.HTML(elem_id="convert-past")

    def _build_settings(self) -> None:
        words = self.words
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
        sources = [self.kind, self.source, self.files, self.text]
        inputs = [*sources, self.voice, self.with_index, self.format, *self.speech.values()]
        begun = on(self.go.click, self.submit, [*inputs, *fields], self.job, show_progress="hidden")
        ended = on(begun.success, self.follow, self.job, self.result, **FOLLOWS)
        on(ended.then, self.recall, None, self.past, **SWIFT)
        on(self.stop.click, self.cancel, self.job, self.result, **SWIFT)
        for kind, tab in self.kinds.items():
            on(tab.select, lambda kind=kind: kind, None, self.kind, **SWIFT)
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

    def submit(self, request: gr.Request, *values: Any) -> str:
        """Put a conversion in line and return its name; it goes on when the browser closes."""
        kind, source, files, text, voice, with_index, format, *chosen = values
        spoken, settings = chosen[: len(self.speech)], chosen[len(self.speech) :]
        wish = Wish(
            voice,
            read_settings(ConversionConfig, list(self.settings), settings),
            bool(with_index),
            str(format),
        )
        sources = [source or ""] if kind == SOUND else files or []
        if kind == TEXT:
            config = read_settings(SpeechConfig, list(self.speech), spoken)
            wish = wish.of_text(text or "", config)
        person = person_of(request.cookies)
        return self.page.conversions.submit(self.page, (person, owner_of(request)), wish, sources)

    async def follow(self, request: gr.Request, name: str) -> AsyncIterator[str]:
        """Show how a conversion stands until it has ended, and what came out."""
        language, shown = language_of(request), ""
        job = self._found(request, name)
        while job is not None and not job.ended.is_set():
            standing = self.page.turns.standing(job.turn)
            if (view := live_view(job, standing, language)) != shown:
                yield (shown := view)
            await asyncio.sleep(LOOK_SECONDS)
        if job is None:
            return
        yield ended_view(job, language)
        is_news, job.seen = not job.seen, True
        if is_news and job.error is not None:
            raise job.error

    def resume(self, request: gr.Request, name: str) -> str:
        """Name the conversion in view, or the one that a person who comes back has not seen."""
        job = self.page.conversions.newest(owner_of(request))
        return name if name or job is None or job.seen else job.name

    def recall(self, request: gr.Request) -> str:
        """Offer what this person converted before."""
        return earlier(self.page.conversions.of(owner_of(request)))

    def cancel(self, request: gr.Request, name: str) -> str:
        """Stop a conversion: at once while it waits, at its next safe point while it runs."""
        job, language = self._found(request, name), language_of(request)
        if job is None:
            return ""
        if job.is_live:
            self.page.conversions.line.stop(job)
        if job.is_live:
            return live_view(job, self.page.turns.standing(job.turn), language)
        return ended_view(job, language)

    def _found(self, request: gr.Request, name: str) -> ConversionJob | None:
        return self.page.conversions.find(name, owner_of(request))

    def take_example(self, name: str | None) -> Any:
        """Put an example into the player."""
        if not name:
            return gr.update()
        path = self.page.examples / Path(name).name
        return str(path) if path.is_file() else gr.update()

    def show_card(self, name: str | None, request: gr.Request) -> str:
        """Show the card of the chosen voice."""
        return card_of_name(self.page, name, language_of(request))


def owner_of(request: gr.Request) -> str:
    """Name whose a conversion is: the person's, or this visit's where cookies are refused."""
    return person_of(request.cookies) or f"visit-{getattr(request, 'session_hash', '')}"


def preset_choices(language: str) -> list[tuple[str, str]]:
    """Name the presets in a language."""
    return [(say(f"preset.{name}", language), name) for name in PRESETS]
