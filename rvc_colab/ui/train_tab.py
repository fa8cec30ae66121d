"""The tab that trains: recordings, a look at them, the plan, and the run as it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import TrainingError
from rvc_colab.ui.access import person_of
from rvc_colab.ui.events import SWIFT, PageProgress, on
from rvc_colab.ui.forms import as_shown, controls, read_settings
from rvc_colab.ui.page import Page
from rvc_colab.ui.texts import Wording, language_of, say
from rvc_colab.ui.train_view import (
    check_start,
    curves,
    dataset_report,
    history_mark,
    plan_in_words,
    report_link,
    runs_table,
    samples,
    status,
    take_in,
)
from rvc_colab.ui.training_jobs import RECORD, TrainingJob, claim_run, kept_record, runs_of

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
        with gr.Row(elem_classes="rvc-actions"):
            self.look_button = words(gr.Button(elem_id="train-look"), value="train.look")
            self.start_button = words(
                gr.Button(variant="primary", elem_id="train-start"), value="train.start"
            )
            self.stop_button = words(
                gr.Button(variant="stop", elem_id="train-stop"), value="train.stop"
            )
        self.state = gr.HTML(elem_id="train-state")
        self.heard = gr.HTML(elem_id="train-samples")
        self.drawn = gr.HTML(elem_id="train-curves")
        self.report = gr.HTML(elem_id="train-report")
        self.mark = gr.State("")
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self._join()

    def _build_recordings(self) -> None:
        words, page = self.words, self.page
        self.name = words(gr.Textbox(max_lines=1, elem_id="train-name"), label="train.name")
        self.files = words(
            gr.File(file_count="multiple", type="filepath", height=160, elem_id="train-files"),
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
        self.listed = gr.HTML(elem_id="train-list")

    def _join(self) -> None:
        asked = [self.name, self.files, self.folder, *self.settings.values()]
        seen, lists = self._seen, [self.runs, self.listed]
        on(self.look_button.click, self.look, asked, self.report)
        on(self.start_button.click, self.start, asked, [*seen, self.report, *lists])
        on(self.stop_button.click, self.stop, self.name, seen, queue=False)
        on(self.timer.tick, self.show, [self.name, self.mark], seen, **SWIFT)
        chosen = [self.name, self.folder, *self.settings.values(), *seen]
        on(self.runs.input, self.choose, self.runs, chosen, **SWIFT)

    @property
    def _seen(self) -> list[Any]:
        """The components that `show` fills."""
        return [self.state, self.heard, self.drawn, self.mark, self.timer]

    def _asked(
        self, request: gr.Request, values: tuple[Any, ...]
    ) -> tuple[str, Path, TrainingConfig]:
        name, files, folder, *settings = values
        name = (name or "").strip()
        check_start(name, files or [], folder or "")
        self._refuse_foreign(request, name)
        person = person_of(request.cookies)
        config = read_settings(TrainingConfig, list(self.settings), settings)
        if files:
            place = take_in(self.page, person, name, files)
        else:
            place = self.page.folder(folder, person)
        claim_run(self.page.workspace.run(name), person, place)
        return name, place, config

    def look(self, request: gr.Request, bar: gr.Progress = BAR, *values: Any) -> str:
        """Examine and cut the recordings; say what they are, and how this machine would train."""
        from rvc_colab.training import recipe
        from rvc_colab.training.inspection import inspect_folder
        from rvc_colab.training.working_set import WorkingSet

        name, folder, config = self._asked(request, values)
        self._refuse_foreign(request, name)
        place, progress, language = self.page.workspace, PageProgress(bar), language_of(request)
        found = inspect_folder(folder, WorkingSet.of(place), config.sample_rate, progress)
        dataset = recipe.preprocess(name, folder, config, place, progress)
        report = dataset_report(found, dataset, language)
        return plan_in_words(self.page, config, language) + report

    def start(self, request: gr.Request, *values: Any) -> list[Any]:
        """Put the training in line; it goes on when the browser closes."""
        name, folder, config = self._asked(request, values)
        self._refuse_foreign(request, name)
        person = person_of(request.cookies)
        self.page.jobs.submit(TrainingJob(name, str(folder), config, person=person))
        plan = plan_in_words(self.page, config, language_of(request))
        return [*self.show(request, name), plan, *self._lists(request)]

    def stop(self, request: gr.Request, name: str) -> list[Any]:
        """Stop the training after its step; a snapshot and the voice are written."""
        self._refuse_foreign(request, name)
        self.page.jobs.stop(name)
        gr.Info(say("train.stopping", language_of(request)))
        return self.show(request, name)

    def show(self, request: gr.Request, name: str, mark: str = "") -> list[Any]:
        """Show how a run stands; the clock ticks only while it goes on.

        Curves and samples are sent when there are new ones, so that listening is not disturbed.
        """
        if not name or name not in self._runs(request):
            return ["", "", "", "", gr.Timer(active=False)]
        person, language = person_of(request.cookies), language_of(request)
        folder, job = self.page.workspace.run(name), self.page.jobs.find(name)
        is_live = job is not None and not job.ended.is_set()
        shown = status(self.page, name, language)
        new = f"{history_mark(folder)} {language} {is_live}"
        if new == mark:
            return [shown, gr.skip(), gr.skip(), mark, gr.Timer(active=is_live)]
        heard = samples(self.page, person, folder)
        heard += "" if is_live else report_link(self.page, person, folder, language)
        return [shown, heard, curves(folder), new, gr.Timer(active=is_live)]

    def choose(self, request: gr.Request, name: str | None) -> list[Any]:
        """Take up a run of the list: its name, recordings and settings come back into the form."""
        from rvc_colab.training.runs import read_run

        kept = [gr.skip() for _ in self.settings]
        if not name:
            return [gr.skip(), gr.skip(), *kept, *self.show(request, "")]
        self._refuse_foreign(request, name)
        run = read_run(name, self.page.workspace)
        folder = kept_record(self.page.workspace.run(name)).get("folder", "")
        if run is not None:
            folder, known = folder or run.recordings, run.settings
            kept = [gr.update(value=as_shown(known[f])) if f in known else k
                    for f, k in zip(self.settings, kept, strict=True)]  # fmt: skip
        return [name, folder, *kept, *self.show(request, name)]

    def greet(self, request: gr.Request, name: str | None) -> list[Any]:
        """Show a returning person their newest training, which went on without them."""
        own = self.page.jobs.of(person_of(request.cookies))
        live = [job.name for job in own if job.is_live]
        name = name or "".join(live[-1:])
        seen = name or "".join(job.name for job in own[-1:])  # one that has ended is shown too
        return [name, *self._lists(request), *self.show(request, seen)]

    @property
    def greeted(self) -> list[Any]:
        """The components that `greet` fills."""
        return [self.name, self.runs, self.listed, *self._seen]

    def _lists(self, request: gr.Request) -> list[Any]:
        """Bring the list of runs and their table up to date."""
        names = self._runs(request)
        return [gr.update(choices=names), runs_table(self.page, names, language_of(request))]

    def _runs(self, request: gr.Request) -> list[str]:
        person, everybody = person_of(request.cookies), not self.page.options.public
        return runs_of(self.page.workspace, person, everybody)

    def _refuse_foreign(self, request: gr.Request, name: str) -> None:
        """Refuse a run that another person started."""
        if (self.page.workspace.run(name) / RECORD).exists() and name not in self._runs(request):
            raise TrainingError(f"The run {name} is somebody else's.", "Give another name.")
