"""Command-line options derived from the config models: one definition of each choice."""

from __future__ import annotations

import argparse
import types
import typing
from enum import StrEnum
from typing import Any, NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rvc_colab import config
from rvc_colab.errors import ConfigError

_GROUPS = {
    "speech": "speech",
    "common": "settings",
    "size": "size of the model (the published sizes unless you train from scratch)",
    "advanced": "advanced settings",
}


_ALIASES = {"profiling": ["--profile"]}


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are ours: two lines and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing the usage."""
        raise ConfigError(f"{message[0].upper()}{message[1:]}.", f"See: {self.prog} --help")


def option_name(field: str) -> str:
    """Return the command-line spelling of a field: `index_rate` → `--index-rate`."""
    return "--" + field.replace("_", "-")


def add_settings(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """Add an option for each field of `model`; values stay text, which the model reads."""
    groups: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        name = str(config.extras(info)["group"])
        if name not in groups:
            groups[name] = parser.add_argument_group(_GROUPS[name])
        groups[name].add_argument(
            option_name(field), *_ALIASES.get(field, []), **_argument(field, info)
        )


def _argument(field: str, info: FieldInfo) -> dict[str, Any]:
    help_text = _help(info).replace("%", "%%")
    if info.annotation is bool:
        return {"action": argparse.BooleanOptionalAction, "default": None, "help": help_text}
    return {"dest": field, "default": None, "metavar": _metavar(info), "help": help_text}


def _help(info: FieldInfo) -> str:
    allowed = config.range_in_words(info)
    notes = [f"range {allowed}"] if allowed else []
    if info.default is not None:
        notes.append(f"default {info.default}")
    return f"{info.description} [{'; '.join(notes)}]" if notes else str(info.description)


def _metavar(info: FieldInfo) -> str:
    kind = plain_type(info)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "{" + ",".join(kind) + "}"
    return {int: "N", float: "X"}.get(kind, "TEXT")


def plain_type(info: FieldInfo) -> Any:
    """Return a field's type without `| None`."""
    kind = info.annotation
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        return next(k for k in typing.get_args(kind) if k is not types.NoneType)
    return kind


def given(arguments: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """Collect the settings that the person named on the command line."""
    values = vars(arguments)
    return {f: values[f] for f in model.model_fields if values.get(f) is not None}
