"""The tab of the machine: memory and models as they are now, settings, and the doctor's report."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from rvc_colab.config import GpuConfig
from rvc_colab.doctor import examine
from rvc_colab.errors import ConfigError
from rvc_colab.ui.events import GPU, SWIFT, on
from rvc_colab.ui.forms import controls, read_settings
from rvc_colab.ui.page import Page
from rvc_colab.ui.pictures import bar, curve_picture, table
from rvc_colab.ui.texts import Wording, language_of, say
from rvc_colab.ui.versions import copyable
from rvc_colab.ui.voice_cards import voice_choices

GIB = 1024**3
MIB = 1024**2
LOOK_SECONDS = 3.0
HISTORY_MINUTES = 10.0


class MachineTab:
    """Build the tab and answer its buttons."""

    def __init__(self, page: Page, words: Wording) -> None:
        self.page, self.words = page, words

    def build(self) -> None:
        """Lay out the controls and join them."""
        words = self.words
        with gr.Row(elem_classes="rvc-actions"):
            self.look_button = words(
                gr.Button(size="sm", scale=0, min_width=160, elem_id="machine-look"),
                value="machine.look",
            )
            self.live = words(
                gr.Checkbox(True, elem_id="machine-live", container=False), label="machine.live"
            )
        self.shown = gr.HTML(elem_id="machine-state")
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        with gr.Row():
            with gr.Column(min_width=300):
                self._build_models()
            with gr.Column(min_width=300):
                self._build_settings()
                self.doctor_button = words(
                    gr.Button(elem_id="machine-doctor"), value="machine.doctor"
                )
        self.report = words(
            gr.Textbox(lines=8, interactive=False, elem_id="machine-report", **copyable()),
            label="machine.report",
        )
        self._join()

    @property
    def voice_lists(self) -> list[Any]:
        """The lists of voices here."""
        return [self.voice]

    @property
    def seen(self) -> list[Any]:
        """The components that `look` fills."""
        return [self.shown, self.model]

    def _build_models(self) -> None:
        words = self.words
        with gr.Row(elem_classes="rvc-beside"):
            self.voice = words(
                gr.Dropdown(voice_choices(self.page), value=None, scale=3, elem_id="machine-voice"),
                label="machine.voice",
            )
            self.load_button = words(
                gr.Button(scale=1, min_width=100, elem_id="machine-load"), value="machine.load"
            )
        with gr.Row(elem_classes="rvc-beside"):
            self.model = words(
                gr.Dropdown([], value=None, scale=3, elem_id="machine-model"),
                label="machine.model",
            )
            self.unload_button = words(
                gr.Button(scale=1, min_width=100, elem_id="machine-unload"), value="machine.unload"
            )
        self.empty_button = words(gr.Button(elem_id="machine-empty"), value="machine.unload_all")

    def _build_settings(self) -> None:
        with self.words(gr.Accordion(open=False), label="machine.settings"):
            self.settings = controls(GpuConfig, "view", self.words)
            self.apply_button = self.words(
                gr.Button(elem_id="machine-apply"), value="machine.apply"
            )

    def _join(self) -> None:
        on(self.look_button.click, self.look, None, self.seen, **SWIFT)
        on(self.timer.tick, self.look, None, self.seen, **SWIFT)
        on(self.live.change, self.watch, self.live, self.timer, **SWIFT)
        on(self.load_button.click, self.load, self.voice, self.seen, **GPU)
        on(self.unload_button.click, self.unload, self.model, self.seen)
        on(self.empty_button.click, self.empty, None, self.seen)
        fields = list(self.settings.values())
        on(self.apply_button.click, self.apply, fields, self.seen)
        on(self.doctor_button.click, self.examine, None, self.report)

    def watch(self, live: bool) -> Any:
        """Keep looking, where that is wanted, while the tab is open."""
        return gr.Timer(active=bool(live))

    def look_away(self, live: bool) -> Any:
        """Look no more: another tab is open."""
        return gr.Timer(active=False)

    def look(self, request: gr.Request) -> list[Any]:
        """Show memory, work in line, models and alerts as they are now."""
        language = language_of(request)
        loaded = [(short_key(m.key), m.key) for m in self.page.lifecycle.manager.loaded()]
        shown = memory_state(self.page, language) + model_table(self.page, language)
        return [shown, gr.update(choices=loaded)]

    def load(self, request: gr.Request, name: str) -> list[Any]:
        """Load a voice ahead of its use."""
        self.page.lifecycle.manager.load(f"voice:{self.page.voice(name)}")
        return self.look(request)

    def unload(self, request: gr.Request, key: str | None) -> list[Any]:
        """Unload a model; when it is in use, as soon as it is free."""
        if key not in {model.key for model in self.page.lifecycle.manager.loaded()}:
            raise ConfigError("No loaded model is chosen.", "Choose one from the list.")
        self.page.lifecycle.manager.unload(key)
        shown, choices = self.look(request)
        return [shown, {**choices, "value": None}]

    def empty(self, request: gr.Request) -> list[Any]:
        """Unload everything that is idle."""
        self.page.lifecycle.manager.unload_all()
        return self.look(request)

    def apply(self, request: gr.Request, *values: Any) -> list[Any]:
        """Take new settings of the memory manager at once, until the program ends."""
        self.page.lifecycle.configure(read_settings(GpuConfig, list(self.settings), values))
        gr.Info(say("machine.applied", language_of(request)))
        return self.look(request)

    def examine(self) -> str:
        """Look at the machine, one finding and one remedy a line."""
        return "\n".join(check.line() for check in examine(self.page.workspace))


def memory_state(page: Page, language: str) -> str:
    """Draw GPUs, RAM and disk with their history, and the alerts that stand."""
    monitor = page.lifecycle.monitor
    sample = monitor.sample_now()
    parts = []
    for gpu in sample.gpus:
        facts = [f"{gpu.used_bytes / GIB:.1f} / {gpu.total_bytes / GIB:.1f} GB"]
        facts += [f"{gpu.utilisation:.0f} %"] if gpu.utilisation is not None else []
        facts += [f"{gpu.temperature:.0f} °C"] if gpu.temperature is not None else []
        parts.append(bar(gpu.percent / 100, f"{gpu.name}: {', '.join(facts)}"))
    if not sample.gpus:
        parts.append(f"<p>{html.escape(say('machine.no_gpu', language))}</p>")
    ram = f"RAM {sample.ram_used_bytes / GIB:.1f} / {sample.ram_total_bytes / GIB:.1f} GB"
    parts.append(bar(sample.ram_percent / 100, ram))
    disk = say("machine.disk", language, free=f"{sample.disk_free_bytes / GIB:.0f}")
    parts.append(bar(sample.disk_percent / 100, disk))
    past = monitor.history(HISTORY_MINUTES)
    curves = {"RAM %": [(s.seconds, s.ram_percent) for s in past]}
    for number, gpu in enumerate(sample.gpus):
        known = [s for s in past if len(s.gpus) > number]
        curves[f"{gpu.name} %"] = [(s.seconds, s.gpus[number].percent) for s in known]
    parts.append(curve_picture(say("machine.history", language), curves))
    parts.append(f"<p>{html.escape(work_in_line(page, language))}</p>")
    parts += [
        f'<p role="alert" class="rvc-problem">⚠ {html.escape(alert.message)}</p>'
        for alert in monitor.raised
    ]
    return f'<div class="rvc-card">{"".join(parts)}</div>'


def work_in_line(page: Page, language: str) -> str:
    """Say how much is done and waits, not whose it is."""
    counts = page.turns.counts()
    if not any(map(any, counts.values())):
        return say("machine.idle", language)
    numbers = {f"{kind}_{what}": n for kind, pair in counts.items()
               for what, n in zip(("runs", "waits"), pair, strict=True)}  # fmt: skip
    return say("machine.work", language, **numbers)


def model_table(page: Page, language: str) -> str:
    """Draw the loaded models."""
    loaded = page.lifecycle.manager.loaded()
    if not loaded:
        return f'<p class="rvc-card">{html.escape(say("machine.no_models", language))}</p>'
    names = ("model", "device", "state", "size", "uses")
    header = [say(f"machine.column.{name}", language) for name in names]
    rows = [
        (
            short_key(m.key),
            f"{m.device} {m.dtype}",
            m.state,
            f"{m.resident / MIB:.0f} MB",
            m.hits + 1,
        )
        for m in loaded
    ]
    return table(header, rows)


def short_key(key: str) -> str:
    """Return a model's key without the folders of its file."""
    family, _, name = key.partition(":")
    return f"{family}: {name.rsplit('/', 1)[-1]}"
