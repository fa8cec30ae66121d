"""Cells and form fields: each value of a setting comes from its definition in the config."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic.fields import FieldInfo

from rvc_colab.cli.options import plain_type
from rvc_colab.config import TRAINING_RATES, Choices, bounds, range_in_words
from rvc_colab.features.encoder_names import ENCODER_NAMES

CHOICES: dict[str, tuple[Any, ...]] = {
    "sample_rate": TRAINING_RATES,
    "encoder": tuple(ENCODER_NAMES),
}
STEPS = {"transpose": 1}


@dataclass(frozen=True)
class Cell:
    """One cell: `kind` is markdown or code."""

    kind: str
    text: str


def md(text: str) -> Cell:
    """Make a markdown cell from indented text; lines of a paragraph are joined."""
    blocks = [b for b in textwrap.dedent(text).strip().split("\n\n") if b.strip()]
    kept = ("```", "-", "|", "1.", "2.", "#")
    joined = [b if b.lstrip().startswith(kept) else " ".join(b.split("\n")) for b in blocks]
    return Cell("markdown", "\n\n".join(block.strip("\n") for block in joined))


def code(*lines: str) -> Cell:
    """Make a code cell from lines."""
    return Cell("code", "\n".join(lines))


def title(text: str) -> str:
    """Return the line that makes a cell a form with this title."""
    return f'#@title {text} {{ display-mode: "form" }}'


def own(name: str, default: Any, kind: str = "") -> str:
    """Return a form line for a value that is no setting: a path, a name, a box to tick."""
    kind = kind or {bool: "boolean", str: "string", int: "integer"}[type(default)]
    return f'{name} = {_python(default)} #@param {{type:"{kind}"}}'


def setting(model: type[Choices], name: str, form: bool = True) -> str:
    """Return a line for a setting: its default, as a form field or with its help as a comment."""
    info = model.model_fields[name]
    line = f"{name} = {_python(info.default)}"
    if form:
        return f"{line} #@param {_field(name, info)}"
    allowed = range_in_words(info)
    return f"{line}  # {info.description}" + (f" [{allowed}]" if allowed else "")


def plain(name: str, default: Any, help: str) -> str:
    """Return a line with a comment, where forms do not exist."""
    return f"{name} = {_python(default)}  # {help}"


def passed(*names: str) -> str:
    """Return the keyword arguments that hand the form's values on."""
    return ", ".join(f"{name}={name}" for name in names)


def _field(name: str, info: FieldInfo) -> str:
    kind, limit = plain_type(info), bounds(info)
    if name in CHOICES:
        numbers = isinstance(CHOICES[name][0], int)
        return _list(CHOICES[name]) + (' {type:"raw"}' if numbers else "")
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _list([str(item) for item in kind])
    if info.default is None:
        return '{type:"raw"}'
    if kind is float and {"ge", "le"} <= set(limit) and limit["le"] - limit["ge"] <= 100:
        step = STEPS.get(name, 0.01)
        return f'{{type:"slider", min:{limit["ge"]:g}, max:{limit["le"]:g}, step:{step}}}'
    names = {bool: "boolean", int: "integer", float: "number"}
    return f'{{type:"{names.get(kind, "string")}"}}'


def _list(items: Any) -> str:
    return "[" + ", ".join(_python(item) for item in items) + "]"


def _python(value: Any) -> str:
    """Write a value as Python, with the double quotes that Colab's forms write back."""
    if isinstance(value, StrEnum | str):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
