"""How the tests drive the page in a browser: sign in, open a tab, choose, wait, keep a picture."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rvc_colab.ui.texts import say

NAMED = "CHROMIUM" in os.environ  # a named browser is expected: its lack is a failure
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TABS = ("convert", "voices", "train", "machine")
PATIENCE_MS = 120_000
GLANCE_MS = 3_000
EXAMPLE = "tone.wav"
SHOTS = os.environ.get("PAGE_SHOTS", "")  # a folder to keep pictures in; docs/ has them


def sign_in(page: Any, password: str) -> None:
    """Fill in the form that stands before the page."""
    page.locator("input").nth(0).fill("rvc")
    page.locator("input[type=password]").fill(password)
    page.locator("button").first.click()


def open_tab(page: Any, name: str) -> None:
    """Click on a tab; on narrow screens it may stand in the menu of those that do not fit."""
    tab = page.locator("button[role=tab]").nth(TABS.index(name))
    if tab.is_visible():
        tab.click()
        return
    page.locator(".overflow-menu button").first.click()
    page.get_by_role("button", name=say(f"{name}.tab")).last.click()


def choose(page: Any, field: str, text: str) -> None:
    """Choose from a list; an open list of gradio 5 stays as it was, so it is opened again."""
    option = page.locator(field).get_by_role("option", name=text, exact=True)
    for _ in range(PATIENCE_MS // GLANCE_MS):
        page.click(f"{field} input")
        with contextlib.suppress(Exception):  # playwright's own TimeoutError; the last one counts
            option.click(timeout=GLANCE_MS)
            return
        page.locator(f"{field} input").blur()
    raise AssertionError(f"{field} never offered {text}")


def fill(page: Any, field: str, text: str) -> None:
    """Type into a field and leave it, as a person does."""
    box = page.locator(f"{field} :is(textarea, input[type=text], input[type=number])").first
    box.fill(text)
    box.blur()


def take_example(page: Any, name: str = EXAMPLE) -> None:
    """Choose an example and wait until its player stands."""
    choose(page, "#convert-example", name)
    wait_for_text(page, "#convert-source", "0:0")


def give_files(page: Any, field: str, *files: Path) -> None:
    """Drop files and wait until the page has them."""
    page.set_input_files(f"{field} input[type=file]", [str(file) for file in files])
    wait_for_text(page, field, files[-1].stem)


def wait_for_text(page: Any, field: str, text: str) -> None:
    """Wait until a part of the page says `text`."""
    asked = "([field, text]) => document.querySelector(field)?.innerText.includes(text)"
    page.wait_for_function(asked, arg=[field, text])


def download(page: Any, link: str, folder: Path) -> Path:
    """Click on a link and return the file that it brings."""
    with page.expect_download() as got:
        page.click(link)
    path = folder / str(got.value.suggested_filename)
    got.value.save_as(path)
    return path


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so in the program behind the page."""
    for _ in range(PATIENCE_MS // 20):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError(f"it never came to this: {what}")


def shot(page: Any, name: str) -> None:
    """Keep a picture of the whole page where pictures are wanted."""
    if SHOTS:
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
