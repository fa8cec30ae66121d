"""The player that compares two sounds: one button each, the place in time kept between them."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rvc_colab.ui.pictures import Look, sound_picture


@dataclass(frozen=True)
class Side:
    """One of the sounds: its file, its name on the button, its picture."""

    path: Path
    title: str
    look: Look


def file_address(path: Path) -> str:
    """Return the address of a file, relative to the page."""
    return f"gradio_api/file={quote(str(path))}"


def compare(before: Side, after: Side, download: str) -> str:
    """Draw the player; `assets/page.js` gives it life. `download` names the link to the result."""
    sides = "".join(_side(side, mark) for side, mark in ((before, "a"), (after, "b")))
    buttons = "".join(
        f'<button type="button" class="rvc-play" data-play="{mark}" aria-pressed="false">'
        f"▶ {html.escape(side.title)}</button>"
        for side, mark in ((before, "a"), (after, "b"))
    )
    link = (
        f'<a class="rvc-download" href="{file_address(after.path)}" '
        f'download="{html.escape(after.path.name)}">⬇ {html.escape(download)}</a>'
    )
    return f'<div class="rvc-compare">{sides}<div class="rvc-buttons">{buttons}{link}</div></div>'


def _side(side: Side, mark: str) -> str:
    name = html.escape(side.title)
    return (
        f'<div class="rvc-side" data-side="{mark}"><span class="rvc-name">{name} '
        f"{side.look.seconds:.1f} s</span>{sound_picture(side.look, side.title)}"
        f'<span class="rvc-cursor"></span><audio preload="metadata" aria-label="{name}" '
        f'src="{file_address(side.path)}"></audio></div>'
    )


def listen(path: Path, title: str) -> str:
    """Draw a plain player for one sound."""
    name, address = html.escape(title), file_address(path)
    return (
        f'<div class="rvc-listen"><audio controls preload="none" aria-label="{name}" '
        f'src="{address}"></audio><a class="rvc-download" href="{address}" '
        f'download="{html.escape(path.name)}">⬇ {name}</a></div>'
    )
