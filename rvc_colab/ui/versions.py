"""What gradio 5 and gradio 6 say differently."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gradio as gr

MAJOR = int(gr.__version__.split(".")[0])


def hidden(handler: Callable[..., Any] | None) -> dict[str, Any]:
    """Return the options of an event that programs do not see.

    Gradio 6 names even those; ours must not take the names of what programs call.
    """
    if MAJOR < 6:
        return {"api_name": False, "show_api": False}
    name = re.sub(r"\W+", "_", getattr(handler, "__qualname__", "script"))
    return {"api_visibility": "private", "api_name": f"page_{name}"}


def named(name: str) -> dict[str, Any]:
    """Return the options of an event that programs call by name."""
    return {"api_name": name}


def look_of_blocks(look: dict[str, Any]) -> dict[str, Any]:
    """Return theme, css and head where gradio 5 wants them: with the blocks."""
    return {} if MAJOR >= 6 else look


def look_of_launch(look: dict[str, Any]) -> dict[str, Any]:
    """Return theme, css and head where gradio 6 wants them: at the launch."""
    return {"footer_links": ["api"], **look} if MAJOR >= 6 else {"show_api": True}


def copyable() -> dict[str, Any]:
    """Return the options of a text box with a button that copies it."""
    return {"buttons": ["copy"]} if MAJOR >= 6 else {"show_copy_button": True}
