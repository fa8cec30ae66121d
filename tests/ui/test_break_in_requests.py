"""Attempts to get in by requests that no part of the page sends."""

from __future__ import annotations

import os
from typing import Any

import httpx
import psutil
import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_materials import PASSWORD

EVIL = {"origin": "https://evil.example", "content-type": "text/plain"}
VOICES = "/gradio_api/call/voices"


def test_only_this_machine_reaches_the_page(opened: Any) -> None:
    listening = [
        c.laddr.ip
        for c in psutil.Process(os.getpid()).net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.port == opened.port
    ]
    assert listening == ["127.0.0.1"]


def test_another_page_can_call_nothing_with_a_persons_cookies(sign_in: Any) -> None:
    client = sign_in()
    assert client.post(VOICES, json={"data": []}).status_code == 200
    assert client.post(VOICES, content='{"data": []}', headers=EVIL).status_code == 403
    assert client.post("/gradio_api/upload", files={"files": b"x"}, headers=EVIL).status_code == 403
    assert client.get("/logout", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_another_page_is_told_nothing(sign_in: Any) -> None:
    answer = sign_in().get("/config", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/dev/reload",
        "/gradio_api/runs",
        "/monitoring",
    ],
)
def test_parts_of_gradio_without_use_are_shut(sign_in: Any, path: str) -> None:
    assert sign_in().get(path).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/queue/status"),
        ("GET", "/gradio_api/queue/data?session_hash=abc"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/convert"),
        ("POST", "/gradio_api/call/voices"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/process_recording"),
    ],
)
def test_no_door_opens_without_the_password(opened: Any, method: str, path: str) -> None:
    body = {"data": [], "session_hash": "abc", "fn_index": 0} if method == "POST" else None
    url = opened.url.rstrip("/") + path
    answer = httpx.request(method, url, json=body, trust_env=False, timeout=60)
    assert answer.status_code in {401, 403}, answer.text


def test_the_password_stands_nowhere_on_the_page(opened: Any, sign_in: Any) -> None:
    client = sign_in()
    for path in ("/", "/config", "/gradio_api/info"):
        assert PASSWORD not in client.get(path).text
    assert PASSWORD not in repr(opened)
