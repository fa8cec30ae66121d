"""The web page: convert, train, voices, machine. A face over the verbs, with no logic of its own.

from rvc_colab.ui import launch

page = launch()          # http://127.0.0.1:7860, for this machine only
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rvc_colab.errors import MissingExtraError

if TYPE_CHECKING:
    from rvc_colab.ui.page import PageOptions
    from rvc_colab.ui.server import OpenPage
    from rvc_colab.workspace import Workspace

__all__ = ["launch"]


def launch(workspace: Workspace | None = None, options: PageOptions | None = None) -> OpenPage:
    """Open the page and return it while it runs in the background. Raises RVCError.

    Only this machine reaches it; with `PageOptions(public=True)`, as behind a tunnel, it asks for
    a user and a password, made up when not given.
    """
    from rvc_colab.memory.allocator import apply_allocator_settings, limit_primitive_cache

    apply_allocator_settings(os.environ)  # before gradio's part of the page loads torch
    limit_primitive_cache(os.environ)
    try:
        import gradio as _gradio  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("ui", "gradio") from error
    from rvc_colab.ui.server import open_page

    return open_page(workspace, options)


def __getattr__(name: str) -> Any:
    if name == "PageOptions":
        from rvc_colab.ui.page import PageOptions

        return PageOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
