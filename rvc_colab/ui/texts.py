"""The words of the page in six languages, and the components that speak them.

All words stand in `assets/page_texts.json`: for each key one text per language, in the order of
its `languages`. English help texts of settings are those of the config models.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gradio as gr

from rvc_colab.store.assets import bundled

COOKIE = "rvc_language"
DEFAULT = "en"

Component = TypeVar("Component")


@functools.lru_cache(maxsize=1)
def catalogue() -> dict[str, dict[str, str]]:
    """Return the catalogue as language → key → text."""
    content = json.loads(bundled("page_texts.json").read_text(encoding="utf-8"))
    languages = content["languages"]
    return {
        language: {key: texts[number] for key, texts in content["texts"].items()}
        for number, language in enumerate(languages)
    }


def languages() -> dict[str, str]:
    """Return the languages as code → their own name."""
    return {code: texts["language.name"] for code, texts in catalogue().items()}


def say(key: str, language: str = DEFAULT, /, **values: object) -> str:
    """Return a text of the catalogue, with `{name}` filled in; `literal:TEXT` is TEXT."""
    if key.startswith("literal:"):
        return key.removeprefix("literal:")
    text = catalogue().get(language, catalogue()[DEFAULT])[key]
    return text.format(**values) if values else text


def language_of(request: gr.Request | None) -> str:
    """Choose the language: what the person chose, else what the browser asks for, else English."""
    if request is None:
        return DEFAULT
    chosen = (getattr(request, "cookies", None) or {}).get(COOKIE, "")
    if chosen in catalogue():
        return str(chosen)
    headers: Mapping[str, str] = getattr(request, "headers", None) or {}
    for part in str(headers.get("accept-language", "")).split(","):
        code = part.split(";")[0].strip().split("-")[0].lower()
        if code in catalogue():
            return code
    return DEFAULT


class Wording:
    """The components of a page with the keys of their words, so that they can change language."""

    def __init__(self) -> None:
        self._bound: list[tuple[Any, dict[str, Any]]] = []

    def __call__(self, component: Component, **words: str | Callable[[str], Any]) -> Component:
        """Bind properties (`label`, `info`, `value`, `placeholder`…) to keys, and say them now.

        A property may be a function of the language instead, as for translated choices.
        """
        for name, key in words.items():
            setattr(component, name, _word(key, DEFAULT))
        self._bound.append((component, words))
        return component

    @property
    def components(self) -> list[Any]:
        """Return the bound components, in the order of `updates`."""
        return [component for component, _ in self._bound]

    def updates(self, language: str) -> list[Any]:
        """Return an update of each component that makes it speak `language`."""
        return [
            gr.update(**{name: _word(key, language) for name, key in words.items()})
            for _, words in self._bound
        ]

    def mark(self) -> int:
        """Return a place to go back to with `forget`."""
        return len(self._bound)

    def forget(self, mark: int) -> None:
        """Forget the components bound since `mark`: their tab could not be built."""
        del self._bound[mark:]


def _word(key: str | Callable[[str], Any], language: str) -> Any:
    return key(language) if callable(key) else say(key, language)
