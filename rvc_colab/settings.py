"""Read settings: defaults < YAML or JSON file < environment (`RVC_*`) < command line or call."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rvc_colab.config import SECTIONS, Choices, Precision, extras, range_in_words
from rvc_colab.errors import ConfigError

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def _as_bool(text: str) -> bool:
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise ValueError("neither yes nor no; write 1 or 0")


def _fp16_switch(text: str) -> str:
    return Precision.FP16 if _as_bool(text) else Precision.FP32


# Variables whose meaning is another field's: name → (section, field, reading).
_FOREIGN_VARIABLES: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "URVC_FP16_INFERENCE": ("conversion", "precision", _fp16_switch),
    "RVC_USE_FP16": ("conversion", "precision", _fp16_switch),
}

Model = TypeVar("Model", bound=Choices)


def load(
    model: type[Model],
    overrides: Mapping[str, Any] | None = None,
    file: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Model:
    """Read one model: defaults < file < environment < `overrides` (None values are not given).

    `file` defaults to the variable RVC_CONFIG. Raises ConfigError with the value, where it came
    from, and the bound.
    """
    env = os.environ if env is None else env
    file = file or env.get("RVC_CONFIG") or None
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    layers = [
        _from_file(model, Path(file)) if file else {},
        _from_env(model, env),
        {k: (v, "") for k, v in (overrides or {}).items() if v is not None},
    ]
    for layer in layers:
        for name, (value, origin) in layer.items():
            values[name], origins[name] = value, origin
    try:
        return model(**values)
    except ValidationError as error:
        raise _refusal(model, error, origins) from None


def _from_file(model: type[Choices], path: Path) -> dict[str, tuple[Any, str]]:
    sections = read_file(path)
    name = next(key for key, value in SECTIONS.items() if value is model)
    return {key: (value, f" (in {path.name})") for key, value in (sections.get(name) or {}).items()}


def read_file(path: Path) -> dict[str, dict[str, Any]]:
    """Read a YAML or JSON settings file into its sections. Raises ConfigError."""
    import yaml

    hint = f"Its sections are {', '.join(SECTIONS)}, each with settings as `name: value`."
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(
            f"The settings file {path} cannot be read: {error.strerror}.", hint
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise ConfigError(f"The settings file {path} is no YAML or JSON: {line}.", hint) from error
    if not isinstance(content, dict) or any(
        not isinstance(value, dict) and value is not None for value in content.values()
    ):
        raise ConfigError(f"The settings file {path} has no sections.", hint)
    if unknown := sorted(set(content) - set(SECTIONS)):
        raise ConfigError(f"The settings file {path} has an unknown section {unknown[0]!r}.", hint)
    return content


def variables(section: str, field: str) -> list[str]:
    """Name the environment variables that set one field, the strongest last."""
    info = SECTIONS[section].model_fields[field]
    foreign = [v for v, (s, f, _) in _FOREIGN_VARIABLES.items() if (s, f) == (section, field)]
    return [*foreign, *extras(info)["env"], f"RVC_{field.upper()}"]


def _from_env(model: type[Choices], env: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    section = next(key for key, value in SECTIONS.items() if value is model)
    found: dict[str, tuple[Any, str]] = {}
    for field in model.model_fields:
        for variable in variables(section, field):
            if not env.get(variable, "").strip():
                continue
            text = env[variable].strip()
            if variable in _FOREIGN_VARIABLES:
                try:
                    found[field] = (_FOREIGN_VARIABLES[variable][2](text), f" (from {variable})")
                except ValueError as error:
                    raise ConfigError(
                        f"{variable}={text!r} is refused: it is {error}.",
                        f"It sets {field}; without it the default counts.",
                    ) from None
            else:
                found[field] = (text, f" (from {variable})")
    return found


def _refusal(model: type[Choices], error: ValidationError, origins: dict[str, str]) -> ConfigError:
    problem = error.errors()[0]
    name = str(problem["loc"][0]) if problem["loc"] else "?"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, model.model_fields, n=1)
        hint = (
            f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(model.model_fields)}."
        )
        return ConfigError(f"There is no setting {name!r}{origins.get(name, '')}.", hint)
    info = model.model_fields[name]
    message = f"{name} = {problem['input']}{origins.get(name, '')} is refused: {problem['msg']}."
    allowed = range_in_words(info)
    hint = f"{info.description}" + (f" Range: {allowed}." if allowed else "")
    return ConfigError(message, hint)
