"""Make a local web page reachable: the host's own proxy, Gradio share, ngrok or localtunnel.

One protocol for all: the platform's rule is shown, the way is opened with a bounded wait, looked at
through its public address, and closed with everything it started. Nothing here hides what it does
from a platform or keeps a session alive.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import secrets
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rvc_colab.errors import ConfigError, MissingExtraError, NotebookError
from rvc_colab.notebook import tunnel_agent
from rvc_colab.notebook.command import Child, say
from rvc_colab.notebook.environment import COLAB, KAGGLE, platform_name
from rvc_colab.notebook.secret_store import Secret, secret

KINDS = ("proxy", "gradio", "ngrok", "localtunnel")
LOCALTUNNEL = "localtunnel@2.0.2"
LOCALTUNNEL_HOST = "https://loca.lt"
USER = "rvc"
_HEADERS = {
    "User-Agent": "rvc_colab",
    # Both services put a page of their own before the first visit; it would answer for ours.
    "ngrok-skip-browser-warning": "1",
    "bypass-tunnel-reminder": "1",
}

RULES = {
    COLAB: (
        "Colab's rule: without a positive balance of compute units a session may not be used "
        "mainly through a web page, and may be ended without warning; Colab has named RVC's pages. "
        "The cells of this notebook do the same work and are allowed. No deepfakes, on any plan."
    ),
    KAGGLE: (
        "Kaggle's rule: sessions are for work in the notebook; tunnels to web pages have been "
        "ended and accounts blocked for them. The cells of this notebook do the same work."
    ),
}


@dataclass(frozen=True)
class TunnelOptions:
    """How a tunnel is opened. Times in seconds."""

    open_seconds: float = 60.0
    check_seconds: float = 30.0
    show: Callable[[str], None] = say
    server: str = ""  # another localtunnel server
    program: tuple[str, ...] = ()  # localtunnel's client, found by itself when empty


@dataclass
class Tunnel:
    """An open way to the page. The page itself asks for `user` and `password`."""

    kind: str
    url: str
    user: str
    password: str = field(repr=False)
    note: str = ""
    _child: Child | None = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Tell whether the program that holds the tunnel still runs."""
        return self._child is None or self._child.running

    def close(self) -> None:
        """Close the tunnel and stop everything it started. May be called twice."""
        if self._child is not None:
            self._child.stop()

    def in_words(self) -> str:
        """Say the address and how to get in."""
        lines = [f"Open {self.url}", f"User {self.user}, password {self.password}"]
        return "\n".join([*lines, self.note] if self.note else lines)

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_credentials() -> tuple[str, str]:
    """Return a user name and a fresh password for the page to ask for."""
    return USER, secrets.token_urlsafe(9)


def open_tunnel(
    kind: str,
    port: int,
    credentials: tuple[str, str] | None = None,
    allow_web_ui: bool = False,
    options: TunnelOptions | None = None,
) -> Tunnel:
    """Open a way to the page on `port` of this machine (`proxy`, `gradio`, `ngrok`, `localtunnel`).

    `credentials` are those the page was started with (see `new_credentials`). On Colab and Kaggle
    the platform's rule is shown, and `allow_web_ui=True` is needed. Raises NotebookError with the
    program's last words when the way cannot be opened within its time.
    """
    options = options or TunnelOptions()
    if kind not in KINDS:
        raise ConfigError(f"There is no tunnel {kind!r}.", f"Choose one of {', '.join(KINDS)}.")
    _show_rule(allow_web_ui, options)
    _check_port(port)
    user, password = credentials or new_credentials()
    opened = {
        "proxy": _open_proxy,
        "gradio": _open_gradio,
        "ngrok": _open_ngrok,
        "localtunnel": _open_localtunnel,
    }[kind](port, options)
    tunnel = Tunnel(kind, opened.url, user, password, opened.note, opened.child)
    if kind != "proxy":
        _check_health(tunnel, options)
    return tunnel


@dataclass(frozen=True)
class _Opened:
    url: str
    note: str = ""
    child: Child | None = None


def _show_rule(allow_web_ui: bool, options: TunnelOptions) -> None:
    rule = RULES.get(platform_name(os.environ))
    if rule is None:
        return
    options.show(rule)
    if not allow_web_ui:
        raise NotebookError(
            "The web page was not opened: it needs your word that you have read the rule above.",
            "Use the cells of the notebook, or set allow_web_ui=True.",
        )


def _check_port(port: int) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), 2.0).close()
    except (OSError, OverflowError) as error:
        raise NotebookError(
            f"Nothing answers on port {port} of this machine.", "Start the web page first."
        ) from error


# ---------------------------------------------------------------------------- the four ways


def _open_proxy(port: int, options: TunnelOptions) -> _Opened:
    hint = "Reload the page, allow cookies of other sites, or name another tunnel."
    try:
        output = importlib.import_module("google.colab.output")
        # Without a time limit the call would wait for the browser for ever.
        url = output.eval_js(
            f"google.colab.kernel.proxyPort({port})", timeout_sec=options.open_seconds
        )
    except ImportError as error:
        raise NotebookError(
            "Only Colab has a port proxy of its own.", "Choose gradio, ngrok or localtunnel."
        ) from error
    except Exception as error:  # the frontend's refusals have classes of their own
        raise NotebookError(f"Colab's proxy refused: {error}.", hint) from error
    if not str(url or "").startswith("http"):
        raise NotebookError("Colab's proxy gave no address: the browser did not answer.", hint)
    return _Opened(str(url), "It opens only in this browser, while the notebook is open.")


def _open_gradio(port: int, options: TunnelOptions) -> _Opened:
    if importlib.util.find_spec("gradio") is None:
        raise MissingExtraError("ui", "gradio")
    child = Child(_agent("gradio", port), dict(os.environ))
    url = _wait(child, _agent_url, "Gradio's share service", Secret(""), options)
    return _Opened(
        url, "Anyone with the address reaches the page; it asks for the password.", child
    )


def _open_ngrok(port: int, options: TunnelOptions) -> _Opened:
    if importlib.util.find_spec("pyngrok") is None:
        raise MissingExtraError("tunnel", "pyngrok")
    token = secret("NGROK_AUTHTOKEN")
    environ = {**os.environ, tunnel_agent.TOKEN_VARIABLE: token.required()}
    environ.pop("NGROK_AUTHTOKEN", None)
    child = Child(_agent("ngrok", port), environ)
    url = _wait(child, _agent_url, "ngrok", token, options)
    return _Opened(url, "The free plan shows a page of ngrok's own before the first visit.", child)


def _open_localtunnel(port: int, options: TunnelOptions) -> _Opened:
    command = [*_localtunnel_program(options), "--port", str(port), "--local-host", "127.0.0.1"]
    if options.server:
        command += ["--host", options.server]
    child = Child(command, dict(os.environ))
    url = _wait(child, _localtunnel_url, "localtunnel", Secret(""), options)
    address = _public_address(options.server or LOCALTUNNEL_HOST)
    first = (
        f"localtunnel asks for a tunnel password first: {address}"
        if address
        else ("localtunnel asks for a tunnel password first: this machine's public IP address")
    )
    return _Opened(url, f"{first}.", child)


def _localtunnel_program(options: TunnelOptions) -> list[str]:
    if options.program:
        return list(options.program)
    if found := shutil.which("lt"):
        return [found]
    if found := shutil.which("npx"):
        return [found, "--yes", LOCALTUNNEL]
    raise NotebookError(
        "localtunnel needs Node, which is not installed here.", "Choose proxy, gradio or ngrok."
    )


def _public_address(server: str) -> str:
    with contextlib.suppress(OSError, ValueError):
        request = urllib.request.Request(f"{server}/mytunnelpassword", headers=_HEADERS)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read(100).decode("ascii", "replace").strip()
        if re.fullmatch(r"[0-9A-Fa-f.:]{3,45}", text):
            return str(text)
    return ""


def _agent(kind: str, port: int) -> list[str]:
    return [sys.executable, "-P", str(Path(tunnel_agent.__file__)), kind, str(port)]


def _agent_url(line: str) -> str | None:
    words = tunnel_agent.URL_WORDS
    return line.removeprefix(words) if line.startswith(words) else None


def _localtunnel_url(line: str) -> str | None:
    found = re.search(r"your url is:\s*(https?://\S+)", line)
    return found[1] if found else None


# ----------------------------------------------------------------- waiting, health and words

# What the services' own codes mean, where that is certain; the service's words stand above anyway.
_HINTS = (
    ("ERR_NGROK_4018", "ngrok needs a token: put NGROK_AUTHTOKEN into the notebook's secrets."),
    ("ERR_NGROK_105", "The token is no ngrok token: copy it again from dashboard.ngrok.com."),
    ("ERR_NGROK_107", "The token is not valid any more: copy it again from dashboard.ngrok.com."),
    ("ERR_NGROK_108", "Another session of this ngrok account is open: close it first."),
    ("PyngrokNgrokInstallError", "ngrok's program could not be fetched: check the network."),
    ("connection refused", "The tunnel's server is not reachable: try again or name another one."),
)


def _wait(
    child: Child,
    find: Callable[[str], str | None],
    name: str,
    token: Secret,
    options: TunnelOptions,
) -> str:
    """Wait for the address: it came, the program died, or the time is up."""
    try:
        url = child.wait_for(find, options.open_seconds)
    except BaseException:
        child.stop()
        raise
    if url:
        return url
    died = child.silent
    child.stop()
    what = (
        f"ended (code {child.code})" if died else f"gave no address in {options.open_seconds:g} s"
    )
    raise _failure(f"{name} {what}", child, token)


def _failure(what: str, child: Child | None, token: Secret) -> NotebookError:
    words = token.scrub("\n".join(list(child.lines)[-12:])) if child else ""
    hint = next((hint for mark, hint in _HINTS if mark in words), "Try again, or another tunnel.")
    return NotebookError(f"{what}:\n{words}" if words else f"{what}.", hint)


def _check_health(tunnel: Tunnel, options: TunnelOptions) -> None:
    """Look at the page through its public address until it answers, or close and say why not."""
    end = time.monotonic() + options.check_seconds
    found = "no answer"
    try:
        while tunnel.is_open:
            found = _status(tunnel.url, max(1.0, min(10.0, end - time.monotonic())))
            if found == "":
                return
            if time.monotonic() >= end:
                break
            time.sleep(min(1.0, options.check_seconds))
    except BaseException:
        tunnel.close()
        raise
    gone = "" if tunnel.is_open else "; its program has ended"
    tunnel.close()
    what = f"{tunnel.kind} gave {tunnel.url}, but the page does not answer there ({found}{gone})"
    raise _failure(what, tunnel._child, secret("NGROK_AUTHTOKEN"))


def _status(url: str, timeout_seconds: float) -> str:
    """Return an empty text when our page answers (also by asking who it is), else what came."""
    try:
        request = urllib.request.Request(url, headers=_HEADERS)
        with urllib.request.urlopen(request, timeout=timeout_seconds):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code == 401 else f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
