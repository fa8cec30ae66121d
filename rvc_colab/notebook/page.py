"""Open the web page from a cell: by name only, with the platform's rule in sight."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rvc_colab.errors import MissingExtraError
from rvc_colab.notebook.command import say
from rvc_colab.notebook.environment import COLAB, KAGGLE, platform_name
from rvc_colab.notebook.tunnels import (
    KINDS,
    RULES,
    Tunnel,
    TunnelOptions,
    new_credentials,
    open_tunnel,
)

if TYPE_CHECKING:
    from rvc_colab.workspace import Workspace


class Page:
    """An open page and the way to it; `close()` ends both."""

    def __init__(self, served: Any, tunnel: Tunnel | None) -> None:
        self.served, self.tunnel = served, tunnel

    def in_words(self) -> str:
        """Say where it is and how to get in."""
        return self.tunnel.in_words() if self.tunnel else f"Open {self.served.url}"

    def close(self) -> None:
        """Close the way, then the page. May be called twice."""
        if self.tunnel:
            self.tunnel.close()
        self.served.close()


def launch_ui(
    workspace: Workspace,
    allow_web_ui: bool = False,
    way: str = "proxy",
    show: Callable[[str], None] = say,
    options: TunnelOptions | None = None,
) -> Page | None:
    """Open the page and a way to it: the host's proxy, or the tunnel that is named.

    Shows the platform's rule first, and returns None when `allow_web_ui` does not say that it was
    read. On a machine of one's own `proxy` means the page's local address, without a tunnel.
    Raises NotebookError when the way cannot be opened (the page is closed again), and
    MissingExtraError without gradio.
    """
    where = platform_name(os.environ)
    if where in RULES and not allow_web_ui:
        show(RULES[where])
        show("The page was not opened. Tick allow_web_ui when you have read this rule.")
        return None
    if importlib.util.find_spec("rvc_colab.ui") is None:
        raise MissingExtraError("ui", "rvc_colab.ui")
    page = importlib.import_module("rvc_colab.ui")
    direct = way == "proxy" and where not in {COLAB, KAGGLE}
    if direct:
        opened = Page(page.launch(workspace), None)
    else:
        _check(way)
        user, password = new_credentials()
        chosen = page.PageOptions(public=True, user=user, password=password)
        served = page.launch(workspace, chosen)
        try:
            chosen_options = options or TunnelOptions(show=show)
            tunnel = open_tunnel(way, served.port, (user, password), allow_web_ui, chosen_options)
        except BaseException:
            served.close()
            raise
        opened = Page(served, tunnel)
    show(opened.in_words())
    return opened


def _check(way: str) -> None:
    if way not in KINDS:
        from rvc_colab.errors import ConfigError

        raise ConfigError(f"There is no way {way!r}.", f"Choose one of {', '.join(KINDS)}.")
