"""The tab that trains: recordings, a look at them, the plan, and the run as it goes."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import TrainingError
from rvc_colab.ui.access import person_of
from rvc_colab.ui.events import SWIFT, PageProgress, on
from rvc_colab.ui.forms import controls, read_settings
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import Wording, language_of, say
from rvc_colab.ui.train_view import (
    check_start,
    dataset_report,
    plan_in_words,
    samples,
    status,
    take_in,
)
from rvc_colab.ui.training_jobs import RECORD, TrainingJob, kept_record, runs_of

BAR = gr.Progress()
LOOK_SECONDS = 2.0


class TrainTab:
    """Build the tab and answer its buttons."""

    def __init__(self, page: Page, words: Wording) -> None:
        self.page, self.words = page, words
        self.settings: dict[str, Any] = {}

    def build(self) -> None:
        """Lay out the controls and join them."""
        words = self.words
        with gr.Row():
            with gr.Column(min_width=300):
                self._build_recordings()
            with gr.Column(min_width=300):
                self.settings |= controls(TrainingConfig, "view", words)
                with words(gr.Accordion(open=False), label="convert.more"):
                    self.settings |= controls(TrainingConfig, "common", words)
                with words(gr.Accordion(open=False), label="form.advanced"):
                    self.settings |= controls(TrainingConfig, "advanced", words)
        with gr.Row():
            self.look_button = words(gr.Button(elem_id="train-look"), value="train.look")
            self.start_button = words(
                gr.Button(variant="primary", elem_id="train-start"), value="train.start"
            )
            self.stop_button = words(
                gr.Button(variant="stop", elem_id="train-stop"), value="train.stop"
            )
        self.report = gr.HTML(elem_id="train-report")
        self.state = gr.HTML(elem_id="train-state")
        self.heard = gr.HTML(elem_id="train-samples")
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self._join()

    def _build_recordings(self) -> None:
        words, page = self.words, self.page
        self.name = words(gr.Textbox(max_lines=1, elem_id="train-name"), label="train.name")
        self.files = words(
            gr.File(file_count="multiple", type="filepath", elem_id="train-files"),
            label="train.files",
        )
        self.folder = words(
            gr.Textbox(max_lines=1, elem_id="train-folder"),
            label="train.folder",
            info="train.folder_help",
        )
        everybody = not page.options.public
        self.runs = words(
            gr.Dropdown(runs_of(page.workspace, "", everybody), value=None, elem_id="train-runs"),
            label="train.runs",
            info="train.runs_help",
        )

    def _join(self) -> None:
        asked = [self.name, self.files, self.folder, *self.settings.values()]
        seen = [self.state, self.heard, self.timer]
        on(self.look_button.click, self.look, asked, self.report)
        on(self.start_button.click, self.start, asked, [*seen, self.report, self.runs])
        on(self.stop_button.click, self.stop, self.name, seen, queue=False)
        on(self.timer.tick, self.show, self.name, seen, **SWIFT)
        on(self.runs.input, self.choose, self.runs, [self.name, self.folder, *seen], **SWIFT)

    def _asked(
        self, request: gr.Request, values: tuple[Any, ...]
    ) -> tuple[str, Path, TrainingConfig]:
        name, files, folder, *settings = values
        name = (name or "").strip()
        check_start(name, files or [], folder or "")
        config = read_settings(TrainingConfig, list(self.settings), settings)
        if files:
            place = take_in(self.page, person_of(request.cookies), name, files)
        else:
            place = self.page.folder(folder)
        return name, place, config

    def look(self, request: gr.Request, bar: gr.Progress = BAR, *values: Any) -> str:
        """Cut the recordings and say what they are, and how this machine would train."""
        from rvc_colab.training import recipe

        name, folder, config = self._asked(request, values)
        self._refuse_foreign(request, name)
        dataset = recipe.preprocess(name, folder, config, self.page.workspace, PageProgress(bar))
        plan = html.escape(plan_in_words(self.page, config)).replace("\n", "<br>")
        return dataset_report(dataset, language_of(request)) + f'<p class="rvc-card">{plan}</p>'

    def start(self, request: gr.Request, *values: Any) -> list[Any]:
        """Put the training in line; it goes on when the browser closes."""
        name, folder, config = self._asked(request, values)
        self._refuse_foreign(request, name)
        person = person_of(request.cookies)
        self.page.jobs.submit(TrainingJob(name, str(folder), config, person=person))
        plan = html.escape(plan_in_words(self.page, config)).replace("\n", "<br>")
        runs = gr.update(choices=self._runs(request))
        return [*self.show(request, name), f'<p class="rvc-card">{plan}</p>', runs]

    def stop(self, request: gr.Request, name: str) -> list[Any]:
        """Stop the training after its step; a snapshot and the voice are written."""
        self._refuse_foreign(request, name)
        self.page.jobs.stop(name)
        gr.Info(say("train.stopping", language_of(request)))
        return self.show(request, name)

    def show(self, request: gr.Request, name: str) -> list[Any]:
        """Show how a run stands; the clock ticks only while it goes on."""
        if not name or name not in self._runs(request):
            return ["", "", gr.Timer(active=False)]
        person, folder = person_of(request.cookies), self.page.workspace.run(name)
        job = self.page.jobs.find(name)
        shown = status(self.page, job, folder, language_of(request))
        heard = samples(self.page, person, folder)
        return [shown, heard, gr.Timer(active=job is not None and job.is_live)]

    def choose(self, request: gr.Request, name: str | None) -> list[Any]:
        """Take up a run of the list: its name and folder come back into the form."""
        if not name:
            return [gr.update(), gr.update(), *self.show(request, "")]
        self._refuse_foreign(request, name)
        folder = kept_record(self.page.workspace.run(name)).get("folder", "")
        return [name, folder, *self.show(request, name)]

    def greet(self, request: gr.Request) -> list[Any]:
        """Show a returning person the training that went on without them."""
        live = [job for job in self.page.jobs.of(person_of(request.cookies)) if job.is_live]
        name = live[-1].name if live else ""
        return [name, gr.update(choices=self._runs(request)), *self.show(request, name)]

    @property
    def greeted(self) -> list[Any]:
        """The components that `greet` fills."""
        return [self.name, self.runs, self.state, self.heard, self.timer]

    def _runs(self, request: gr.Request) -> list[str]:
        person, everybody = person_of(request.cookies), not self.page.options.public
        return runs_of(self.page.workspace, person, everybody)

    def _refuse_foreign(self, request: gr.Request, name: str) -> None:
        """Refuse a run that another person started."""
        if (self.page.workspace.run(name) / RECORD).exists() and name not in self._runs(request):
            raise TrainingError(f"The run {name} is somebody else's.", "Give another name.")
