from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from rvc_colab.errors import ConfigError
from rvc_colab.ui.access import COOKIE, Doorkeeper, Owners, person_of
from rvc_colab.ui.page import PageOptions
from rvc_colab.ui.refusals import MOST_WRONG


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def _ask(tmp_path: Path, local_only: bool, **headers: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": pairs}
    door = Doorkeeper(_hello, Owners(tmp_path, []), local_only)
    asyncio.run(door(scope, None, send))  # type: ignore[arg-type]
    return sent


def test_a_foreign_host_name_is_turned_away_where_the_page_is_local(tmp_path: Path) -> None:
    assert _ask(tmp_path, True, host="evil.example:7860")[0]["status"] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "[::1]:7860"])
def test_this_machine_is_let_in(tmp_path: Path, host: str) -> None:
    assert _ask(tmp_path, True, host=host)[0]["status"] == 200


def test_a_new_browser_gets_a_cookie_that_scripts_cannot_read(tmp_path: Path) -> None:
    headers = dict(_ask(tmp_path, True, host="localhost")[0]["headers"])
    assert b"HttpOnly" in headers[b"set-cookie"]


def test_a_known_browser_keeps_its_cookie(tmp_path: Path) -> None:
    sent = _ask(tmp_path, True, host="localhost", cookie=f"{COOKIE}={'a' * 43}")
    assert b"set-cookie" not in dict(sent[0]["headers"])


def test_passwords_cannot_be_tried_out(tmp_path: Path) -> None:
    statuses: list[int] = []

    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 400, "headers": []})

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    door = Doorkeeper(wrong, Owners(tmp_path, []), local_only=False)
    scope = {"type": "http", "method": "POST", "path": "/login/", "headers": []}
    for _ in range(MOST_WRONG + 2):
        asyncio.run(door(dict(scope), None, send))  # type: ignore[arg-type]
    assert statuses == [400] * MOST_WRONG + [429] * 2


def test_a_made_up_cookie_is_nobody() -> None:
    assert person_of({COOKIE: "../../x"}) == ""


def test_listening_beyond_this_machine_asks_for_a_password() -> None:
    options = PageOptions(host="0.0.0.0")
    assert options.public and len(options.password) >= 12


def test_a_short_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 characters"):
        PageOptions(public=True, password="1234")
