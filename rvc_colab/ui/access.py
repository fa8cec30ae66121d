"""Who may read what through the page: a cookie per browser, folders and uploads by owner.

The page asks for a password where others can reach it; this is about telling those inside apart.
Results lie in `outputs/PERSON/JOB/`, where PERSON is a hash of the cookie: the address of a file
does not give the right to read it. Programs without cookies get folders nobody can guess.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from rvc_colab.ui.refusals import Tries, is_foreign, is_shut

COOKIE = "rvc_person"
OPEN = "open-"
_SECRET = re.compile(r"[\w-]{40,64}")
_FILE = re.compile(r"/(?:gradio_api/)?file(?:=|/)(.*)", re.DOTALL)
_MOST_CLAIMS = 50_000
_MOST_ANSWER = 1 << 20
_YEAR = 365 * 24 * 3600
_LOCAL = {"127.0.0.1", "localhost", "[::1]", "::1"}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def person_of(cookies: Mapping[str, str] | None) -> str:
    """Name the browser a request came from, 20 hex digits; empty without our cookie."""
    value = (cookies or {}).get(COOKIE, "")
    return hashlib.sha256(value.encode()).hexdigest()[:20] if _SECRET.fullmatch(value) else ""


class Owners:
    """Remember whose uploads are whose, and judge by folder whose results are whose."""

    def __init__(self, outputs: Path, readable: Sequence[Path]) -> None:
        self._outputs = Path(os.path.realpath(outputs))
        self._readable = [Path(os.path.realpath(folder)) for folder in readable]
        self._claims: OrderedDict[str, set[str]] = OrderedDict()
        self._lock = threading.Lock()

    def claim(self, path: str | os.PathLike[str], person: str) -> None:
        """Note that a file came from this person, or was made for them."""
        if not person:
            return
        with self._lock:
            self._claims.setdefault(os.path.realpath(path), set()).add(person)
            while len(self._claims) > _MOST_CLAIMS:
                self._claims.popitem(last=False)

    def may_read(self, path: str | os.PathLike[str], person: str) -> bool:
        """Tell whether a file is an example, this person's, or nobody's in particular."""
        try:
            real = Path(os.path.realpath(path))
        except ValueError:  # a null character
            return False
        if real.is_relative_to(self._outputs):
            owner = real.relative_to(self._outputs).parts[:1]
            return bool(owner) and (owner[0] == person or owner[0].startswith(OPEN))
        with self._lock:
            owners = self._claims.get(str(real))
        if owners is not None:
            return person in owners
        return any(real.is_relative_to(folder) for folder in self._readable)


class Doorkeeper:
    """Stand before the page: give browsers their cookie and turn away who asks for others' files.

    `local_only` also turns away requests for other host names, which a foreign web page can send
    to this machine by pointing its own name at it. Requests that no part of the page sends are
    turned away everywhere (`refusals`), and passwords cannot be tried out at will.
    """

    def __init__(self, app: App, owners: Owners, local_only: bool) -> None:
        self._app, self._owners, self._local_only = app, owners, local_only
        self._tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        person = person_of(_cookies(headers.get("cookie", "")))
        if refusal := self._refusal(scope["method"], scope["path"], headers, person):
            await _refuse(send, refusal)
            return
        ours = _Answer(send, "" if person else secrets.token_urlsafe(32))
        asked = f"{scope['method']} {scope['path'].rstrip('/')}"
        if asked == "POST /login":
            if not self._tries.begin():
                await _refuse(send, "Too many wrong passwords. Wait a minute.", 429)
                return
            ours.on_success = self._tries.right
        if asked.startswith("POST ") and asked.endswith("/upload") and person:
            ours.listen = lambda body: self._claim(body, person)
        await self._app(scope, receive, ours)

    def _refusal(self, method: str, path: str, headers: Mapping[str, str], person: str) -> str:
        if self._local_only and re.sub(r":\d+$", "", headers.get("host", "")) not in _LOCAL:
            return "This page is for this machine only."
        if is_foreign(method, path, headers):
            return "This page takes no requests from other pages."
        if is_shut(path):
            return "This page has no such part."
        if asked := _FILE.match(path):
            if "://" in asked[1] or not self._owners.may_read(asked[1], person):
                return "This file is not yours."
        return ""

    def _claim(self, body: bytes, person: str) -> None:
        try:
            paths = json.loads(body)
        except ValueError:
            return
        for path in paths if isinstance(paths, list) else []:
            self._owners.claim(str(path), person)


class _Answer:
    """Send on an answer with our headers, and let somebody read its body."""

    def __init__(self, send: Send, cookie: str) -> None:
        self._send, self._cookie, self._body = send, cookie, b""
        self.listen: Callable[[bytes], None] | None = None
        self.on_success: Callable[[], None] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self.on_success is not None and message["status"] < 400:
                self.on_success()
            headers = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            headers.append((b"referrer-policy", b"same-origin"))
            if self._cookie:
                words = f"{COOKIE}={self._cookie}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Lax"
                headers.append((b"set-cookie", words.encode()))
            message = {**message, "headers": headers}
        elif self.listen is not None and len(self._body) < _MOST_ANSWER:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                self.listen(self._body)
        await self._send(message)


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


async def _refuse(send: Send, why: str, status: int = 403) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
