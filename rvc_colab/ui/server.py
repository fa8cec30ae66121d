"""Open the page: folders, who may come in, gradio's settings, and how to close it again."""

from __future__ import annotations

import contextlib
import hmac
import os
import threading
import warnings
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from rvc_colab.errors import ConfigError
from rvc_colab.memory.turns import Turns
from rvc_colab.store.assets import bundled
from rvc_colab.ui.access import Doorkeeper, Owners
from rvc_colab.ui.app import build_blocks
from rvc_colab.ui.conversions import Conversions
from rvc_colab.ui.page import Page, PageOptions
from rvc_colab.ui.training_jobs import TrainingJobs
from rvc_colab.ui.versions import look_of_launch
from rvc_colab.workspace import Workspace

TITLE = "RVC"


@dataclass
class OpenPage:
    """The page while it is open. `user` and `password` are empty where nobody is asked."""

    url: str
    port: int
    user: str
    password: str = field(repr=False)
    blocks: gr.Blocks = field(repr=False)
    page: Page = field(repr=False)

    def wait(self) -> None:
        """Wait until Ctrl-C, then close."""
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        self.close()

    def close(self) -> None:
        """Close the page: running trainings save first, models are unloaded."""
        self.page.jobs.stop_all()
        self.page.conversions.stop_all()
        self.blocks.close(verbose=False)
        self.page.lifecycle.stop_automatic()
        self.page.lifecycle.manager.unload_all(pinned=True)

    def in_words(self) -> str:
        """Say the address and how to get in."""
        lines = [f"Open {self.url}"]
        if self.password:
            lines.append(f"User {self.user}, password {self.password}")
        return "\n".join(lines)


def open_page(workspace: Workspace | None = None, options: PageOptions | None = None) -> OpenPage:
    """Open the page in the background. Raises ConfigError when the port is taken."""
    place, options = workspace or Workspace.locate(), options or PageOptions()
    page = make_page(place, options)
    os.environ["GRADIO_TEMP_DIR"] = str(page.uploads)
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # what a person did here is kept nowhere else
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)  # gradio 5 warns about what 6 will say
        blocks = build_blocks(page, look())
    blocks.queue(max_size=options.queue_length, default_concurrency_limit=8)
    try:
        _, url, _ = blocks.launch(**launch_settings(page))
    except OSError as error:
        raise ConfigError(
            f"The page cannot be opened on port {options.port}: {error}.", "Name another --port."
        ) from error
    page.lifecycle.start_automatic()
    user, password = (options.user, options.password) if options.public else ("", "")
    return OpenPage(url, int(blocks.server_port), user, password, blocks, page)


def make_page(workspace: Workspace, options: PageOptions) -> Page:
    """Make what the tabs share."""
    from rvc_colab.memory.process import make_lifecycle

    lifecycle = make_lifecycle(workspace)
    uploads, outputs, examples = (
        workspace.cache / "page",
        workspace.root / "outputs",
        workspace.root / "examples",
    )
    owners = Owners(outputs, [uploads, examples])
    turns = Turns()
    jobs = TrainingJobs(workspace, lifecycle, turns)
    conversions = Conversions(turns, options.queue_length)
    page = Page(workspace, options, lifecycle, jobs, owners, conversions, turns)
    page.prepare()
    return page


def look() -> dict[str, Any]:
    """Return theme, style and script; everything is served from here, fonts are the system's."""
    sans = ["ui-sans-serif", "system-ui", "sans-serif"]
    theme = gr.themes.Soft(font=sans, font_mono=["ui-monospace", "monospace"]).set(
        background_fill_primary="*neutral_50",  # `set` would make it white
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_label_background_fill_dark="none",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_weight="600",
        block_label_text_color="*body_text_color",
        block_label_background_fill="none",
        body_text_color_subdued="*neutral_500",  # 4.5:1 on the backgrounds here
        body_text_color_subdued_dark="*neutral_400",
    )
    script = bundled("page.js").read_text(encoding="utf-8")
    style = bundled("page.css").read_text(encoding="utf-8")
    return {"theme": theme, "css": style, "head": f"<script>{script}</script>"}


def launch_settings(page: Page) -> dict[str, Any]:
    """Return gradio's launch settings; what is not said here is left shut."""
    options = page.options
    doorkeeper = Middleware(Doorkeeper, owners=page.owners, local_only=not options.public)
    return {
        "server_name": options.host,
        "server_port": options.port,
        "auth": _password_check(options) if options.public else None,
        "share": False,
        "inbrowser": False,
        "inline": False,
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": True,
        "ssr_mode": False,
        "enable_monitoring": False,
        "max_file_size": f"{options.upload_megabytes}mb",
        "allowed_paths": [str(page.outputs), str(page.examples)],
        "app_kwargs": {"middleware": [doorkeeper], "docs_url": None, "redoc_url": None},
        **look_of_launch(look()),
    }


def _password_check(options: PageOptions) -> Any:
    def is_right(user: str, password: str) -> bool:
        right = hmac.compare_digest(user.encode(), options.user.encode())
        return hmac.compare_digest(password.encode(), options.password.encode()) and right

    return is_right
