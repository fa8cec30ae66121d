"""Requests that are turned away whoever sends them.

A page of somebody else's that a person has open in the same browser can send requests here, with
that person's cookies where a tunnel speaks https. Gradio brings doors that this page never uses.
And passwords can be tried out.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

# Proxies, recorders, editors and histories of gradio's that nothing here asks for.
_SHUT = re.compile(
    r"/+(?:gradio_api/+)?(?:proxy=|process_recording|(?:undo-)?vibe-edit|run-history|runs|deep_link"
    r"|dev/|monitoring|stream/|custom_component/|component_server|mcp)"
)
MOST_WRONG = 20
WRONG_SECONDS = 60.0


def is_shut(path: str) -> bool:
    """Tell whether a path belongs to a part of gradio that the page does not use."""
    return _SHUT.match(path) is not None


def is_foreign(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a page of another origin sent this request; following a link here is allowed.

    Browsers say so themselves (Fetch Metadata, W3C) where the address is https or this machine;
    elsewhere the origin is compared with the host. Programs say neither and are let pass.
    """
    site = headers.get("sec-fetch-site", "")
    if site:
        follows = method in {"GET", "HEAD"} and headers.get("sec-fetch-mode") == "navigate"
        return site not in {"same-origin", "none"} and not (follows and "logout" not in path)
    origin = headers.get("origin")
    if origin is None:
        return False
    return urlsplit(origin).netloc not in {headers.get("host"), headers.get("x-forwarded-host")}


class Tries:
    """Count wrong passwords; after `most` within `seconds` nobody is asked until these are over."""

    def __init__(
        self,
        most: int = MOST_WRONG,
        seconds: float = WRONG_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._wrong: deque[float] = deque()

    def begin(self) -> bool:
        """Count a try as wrong until it proves right; False when there were too many."""
        now = self._clock()
        while self._wrong and now - self._wrong[0] >= self._seconds:
            self._wrong.popleft()
        if len(self._wrong) >= self._most:
            return False
        self._wrong.append(now)
        return True

    def right(self) -> None:
        """Take back what `begin` counted: the password was right."""
        if self._wrong:
            self._wrong.pop()
