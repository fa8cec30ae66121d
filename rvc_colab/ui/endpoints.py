"""The endpoints for programs: `/convert`, `/voices`, `/train_status`. See docs/api.md."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache

from rvc_colab.config import ConversionConfig
from rvc_colab.errors import Cancelled, ConfigError
from rvc_colab.settings import load
from rvc_colab.store.voices import list_voices
from rvc_colab.ui.access import person_of
from rvc_colab.ui.conversions import ConversionJob, Wish
from rvc_colab.ui.events import GPU, on
from rvc_colab.ui.forms import LEFT_OUT, OFFERED
from rvc_colab.ui.jobs import DONE
from rvc_colab.ui.page import Page
from rvc_colab.ui.training_jobs import runs_of
from rvc_colab.ui.versions import named

LOOK_SECONDS = 0.05
PLACES = {"path", "index"}  # where things lie is nobody's business outside


class Endpoints:
    """Answer programs with plain values."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def convert(
        self, request: gr.Request, source: str | None, voice: str, settings: dict[str, Any] | None
    ) -> tuple[str, dict[str, Any]]:
        """Convert a sound; `settings` are fields of ConversionConfig, and `format`."""
        person, wanted = person_of(request.cookies), dict(settings or {})
        format = str(wanted.pop("format", "wav"))
        for name, value in wanted.items():
            offered = OFFERED.get(name)
            if name in LEFT_OUT[ConversionConfig] or (offered and value not in offered):
                raise ConfigError(
                    f"The setting {name} = {value!r} is not taken here.", "Leave it out."
                )
        wish = Wish(voice, load(ConversionConfig, wanted), format=format)
        job = await self._done(person, wish, source or "")
        result = job.outcomes[0].result
        assert result is not None and result.target is not None
        record = result.record()
        record["source"], record["target"] = job.files[0].name, result.target.name
        record["voice"] = {k: v for k, v in result.voice.items() if k not in PLACES}
        served = save_file_to_cache(result.target, str(self.page.uploads))
        self.page.owners.claim(served, person)
        return served, record

    async def _done(self, person: str, wish: Wish, source: str) -> ConversionJob:
        """Put a conversion in line like everybody's and wait for it; a lost caller stops it."""
        owner = secrets.token_hex(16)
        conversions = self.page.conversions
        name = conversions.submit(self.page, (person, owner), wish, [source])
        job = conversions.find(name, owner)
        assert job is not None
        try:
            while not job.ended.is_set():
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if job.is_live:
                conversions.line.stop(job)
        if job.error is not None:
            raise job.error
        if job.state != DONE:
            raise Cancelled()
        return job

    def voices(self) -> list[dict[str, Any]]:
        """List the voices with what is known of them."""
        cards = list_voices(self.page.workspace)
        return [
            {k: v for k, v in card.record().items() if k not in PLACES}
            | {"index": bool(card.index)}
            for card in cards
        ]

    def train_status(self, request: gr.Request, name: str) -> dict[str, Any]:
        """Say how a training stands; without a name, list this person's."""
        person, everybody = person_of(request.cookies), not self.page.options.public
        visible = runs_of(self.page.workspace, person, everybody)
        if not name:
            return {"runs": visible}
        job = self.page.jobs.find(name)
        if name not in visible or job is None:
            raise ConfigError(
                f"No training of {name!r} was started here.", "Look at the list of runs."
            )
        left = job.seconds_left
        return job.record() | {"seconds_left": None if left is None else round(left, 1)}


def add_endpoints(page: Page) -> None:
    """Add the endpoints; their components are not shown."""
    ends = Endpoints(page)
    with gr.Column(visible=False):
        source, made = gr.File(type="filepath", label="source"), gr.File(label="converted")
        voice, name = gr.Textbox(label="voice"), gr.Textbox(label="name")
        settings, answer = gr.JSON(label="settings"), gr.JSON(label="answer")
        buttons = [gr.Button("convert"), gr.Button("voices"), gr.Button("train_status")]
        inputs = [source, voice, settings]
        on(buttons[0].click, ends.convert, inputs, [made, answer], **named("convert"), **GPU)
        on(buttons[1].click, ends.voices, None, answer, **named("voices"))
        on(buttons[2].click, ends.train_status, name, answer, **named("train_status"))
