"""Join buttons and handlers: errors become toasts, and work on the GPU waits its turn."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import gradio as gr

from rvc_colab.errors import RVCError
from rvc_colab.progress import SilentProgress
from rvc_colab.ui.versions import hidden

_log = logging.getLogger(__name__)

GPU = {"concurrency_limit": 1, "concurrency_id": "gpu"}
# Long looks at work that is done elsewhere: they cost no thread, so as many as want to.
FOLLOWS: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
# Looks whose answers must come in the order in which they were asked for, as while typing.
IN_ORDER: dict[str, Any] = {
    "concurrency_limit": 1,
    "concurrency_id": "looks",
    "show_progress": "hidden",
}
SWIFT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}


def as_toast(error: BaseException) -> gr.Error:
    """Turn an error into what the page shows: what was found, and the next step."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, RVCError):
        words = html.escape(f"{error.message} {error.hint}".strip(), quote=False)
        return gr.Error(words, duration=15, print_exception=False)
    _log.error("The page hit an error.", exc_info=error)
    what = html.escape(f"{type(error).__name__}: {error}", quote=False)
    words = f"Something unforeseen went wrong: {what}."
    return gr.Error(
        f"{words} The log of the program says more.", duration=15, print_exception=False
    )


def toasts(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let a handler's errors reach the person as toasts."""
    if inspect.isasyncgenfunction(handler):

        @functools.wraps(handler)
        async def following(*arguments: Any) -> AsyncIterator[Any]:
            try:
                async for value in handler(*arguments):
                    yield value
            except Exception as error:
                raise as_toast(error) from error

        return following

    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def awaited(*arguments: Any) -> Any:
            try:
                return await handler(*arguments)
            except Exception as error:
                raise as_toast(error) from error

        return awaited

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def steps(*arguments: Any) -> Iterator[Any]:
            try:
                yield from handler(*arguments)
            except Exception as error:
                raise as_toast(error) from error

        return steps

    @functools.wraps(handler)
    def whole(*arguments: Any) -> Any:
        try:
            return handler(*arguments)
        except Exception as error:
            raise as_toast(error) from error

    return whole


def on(
    trigger: Callable[..., Any],
    handler: Callable[..., Any] | None,
    inputs: Any = None,
    outputs: Any = None,
    **options: Any,
) -> Any:
    """Let `trigger` (for example `button.click`) call `handler`; hidden from programs."""
    chosen = options if "api_name" in options else {**hidden(handler), **options}
    guarded = None if handler is None else toasts(handler)
    return trigger(guarded, inputs, outputs, **chosen)


class PageProgress(SilentProgress):
    """Draw progress where the page shows its results."""

    def __init__(self, bar: gr.Progress) -> None:
        super().__init__()
        self._bar, self._name, self._total, self._done = bar, "", 0, 0

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a named stage."""
        self._name, self._total, self._done = name, total or 0, 0
        self._draw("")

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units."""
        self._done += units
        self._draw(note)

    def _draw(self, note: str) -> None:
        share = min(1.0, self._done / self._total) if self._total else 0.0
        self._bar(share, desc=f"{self._name} {note}".strip())
