"""Controls derived from the config models: range, unit, help and default stand there alone."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from pydantic.fields import FieldInfo

from rvc_colab.config import (
    TRAINING_RATES,
    Choices,
    ConversionConfig,
    GpuConfig,
    SpeechConfig,
    TrainingConfig,
    bounds,
    extras,
)
from rvc_colab.features.encoder_names import ENCODER_NAMES
from rvc_colab.settings import load
from rvc_colab.ui.texts import DEFAULT, Wording, catalogue, say

Model = TypeVar("Model", bound=Choices)

PREFIXES: dict[type[Choices], str] = {
    ConversionConfig: "conversion",
    SpeechConfig: "speech",
    TrainingConfig: "training",
    GpuConfig: "gpu",
}
# What people use in view; the rest is folded.
IN_VIEW = {
    ConversionConfig: ("transpose", "index_rate", "protect", "envelope_mix"),
    TrainingConfig: ("sample_rate", "epochs", "max_minutes", "encoder"),
    SpeechConfig: tuple(SpeechConfig.model_fields),
    GpuConfig: tuple(GpuConfig.model_fields),
}
# Paths on the machine are not typed into a page; measuring is for the command line.
LEFT_OUT = {
    ConversionConfig: ("f0_file", "profiling"),
    SpeechConfig: (),
    TrainingConfig: ("profiling", "restart"),
    GpuConfig: (),
}
# The values offered where the model takes free text.
OFFERED: dict[str, Sequence[Any]] = {
    "encoder": ("", *ENCODER_NAMES, "tiny"),
    "sample_rate": TRAINING_RATES,
    "pretrained": ("auto", "none"),
    "device": ("auto", "cpu", "cuda", "cuda:0", "cuda:1", "rocm", "mps"),
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "speech": {"index_rate": 0.6, "protect": 0.33, "envelope_mix": 0.2},
    "singing": {"index_rate": 0.75, "protect": 0.25, "envelope_mix": 0.5},
    "octave_up": {"transpose": 12},
    "octave_down": {"transpose": -12},
    "faithful": {"index_rate": 0.3, "protect": 0.2, "envelope_mix": 0.0},
}


def label_key(field: str) -> str:
    """Return the catalogue's key of a setting's name; models that share a setting share it.

    A setting without an entry (the tests find it) goes by its plain name.
    """
    key = f"setting.{field}"
    return key if key in catalogue()[DEFAULT] else f"literal:{field.replace('_', ' ')}"


def help_key(model: type[Choices], field: str) -> str:
    """Return the catalogue's key of a setting's help."""
    return f"help.{PREFIXES[model]}.{field}"


def help_in(model: type[Choices], field: str, language: str = DEFAULT) -> str:
    """Say what a setting does, with its range and unit."""
    info = model.model_fields[field]
    known = language != DEFAULT and help_key(model, field) in catalogue()[DEFAULT]
    words = say(help_key(model, field), language) if known else str(info.description)
    allowed = _range(info, language)
    return f"{words} [{allowed}]" if allowed else words


def _range(info: FieldInfo, language: str) -> str:
    """Write a range in signs that every language reads, with the unit's name."""
    limit, unit = bounds(info), str(extras(info)["unit"])
    low, high = limit.get("ge", limit.get("gt")), limit.get("le", limit.get("lt"))
    if low is not None and high is not None:
        text = f"{'> ' if 'gt' in limit else ''}{low:g} … {high:g}"
    elif low is not None:
        text = f"{'>' if 'gt' in limit else '≥'} {low:g}"
    else:
        text = f"≤ {high:g}" if high is not None else ""
    name = say(f"unit.{unit}", language) if unit and unit != "share" else ""
    return f"{text} {name}".strip()


def fields_of(model: type[Choices], group: str) -> list[str]:
    """List the settings shown in view (`view`), folded (`common`), or deeper (`advanced`)."""
    shown = [name for name in model.model_fields if name not in LEFT_OUT[model]]
    if group == "view":
        return [name for name in shown if name in IN_VIEW[model]]
    rest = [name for name in shown if name not in IN_VIEW[model]]
    is_common = {name: extras(model.model_fields[name])["group"] == "common" for name in rest}
    return [name for name in rest if is_common[name] == (group == "common")]


def controls(model: type[Choices], group: str, words: Wording) -> dict[str, Any]:
    """Build the controls of a group of settings: field → component."""
    return {field: control(model, field, words) for field in fields_of(model, group)}


def control(model: type[Choices], field: str, words: Wording) -> Any:
    """Build the control of one setting."""
    component = _component(field, model.model_fields[field], getattr(load(model), field))
    bound: dict[str, Any] = {"label": label_key(field)}
    bound["info"] = lambda language: help_in(model, field, language)
    if isinstance(component, gr.Textbox):
        bound["placeholder"] = "form.empty"
    return words(component, **bound)


def _component(field: str, info: FieldInfo, value: Any) -> Any:
    kind, limit, name = _plain(info), bounds(info), f"setting-{field.replace('_', '-')}"
    low, high = limit.get("ge", limit.get("gt")), limit.get("le", limit.get("lt"))
    if field in OFFERED:
        values = [value for value in OFFERED[field] if value != "" or info.default is None]
        choices = [(str(value) or "–", value) for value in values]
        return gr.Dropdown(choices, value=value if value in values else values[0], elem_id=name)
    if kind is bool:
        return gr.Checkbox(value, elem_id=name)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return gr.Dropdown([str(value) for value in kind], value=str(value), elem_id=name)
    if kind in (int, float) and info.default is not None:
        if low is not None and high is not None and high <= 2048:
            return gr.Slider(low, high, value, step=_step(kind, low, high), elem_id=name)
        precision = 0 if kind is int else None
        return gr.Number(value, minimum=low, maximum=high, precision=precision, elem_id=name)
    return gr.Textbox("" if value is None else str(value), elem_id=name, max_lines=1)


def as_shown(value: Any) -> Any:
    """Return a stored setting as its control shows it."""
    return "" if value is None else value


def _plain(info: FieldInfo) -> Any:
    kind = info.annotation
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
    return str if kind is Path else kind


def _step(kind: Any, low: float, high: float) -> float:
    if kind is int or high - low > 40:
        return 1
    return 0.01 if high - low <= 1 else 0.1 if high - low <= 10 else 0.5


def preset_updates(preset: str, fields: Sequence[str]) -> list[Any]:
    """Return the values of `fields` that a preset asks for, as updates of their controls."""
    chosen = ConversionConfig(**PRESETS[preset])
    wanted = {name for values in PRESETS.values() for name in values}
    return [gr.update(value=getattr(chosen, n)) if n in wanted else gr.update() for n in fields]


def read_settings(model: type[Model], fields: Sequence[str], values: Sequence[Any]) -> Model:
    """Read a model from the controls' values; an empty one was not given. Raises ConfigError."""
    given = {f: v for f, v in zip(fields, values, strict=True) if v is not None and v != ""}
    for field, offered in OFFERED.items():
        if field in given and given[field] not in offered:
            given.pop(field)  # nothing a browser made up becomes a path
    return load(model, given)
