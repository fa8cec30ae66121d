"""Tunnels open within their time, are looked at from outside, say why not, and leave no orphan."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fakes.colab import FakeColab, MessageError
from fakes.kaggle import FakeSecrets
from fakes.localtunnel import LocaltunnelServer

from rvc_colab.errors import ConfigError, NotebookError
from rvc_colab.notebook import tunnels
from rvc_colab.notebook.tunnels import Tunnel, TunnelOptions, new_credentials, open_tunnel

ROOT = Path(__file__).parents[2]
TOKEN = "2tokenXYZsecret"
FAKE_NGROK = Path(__file__).parent / "fakes" / "ngrok.py"


class Page(BaseHTTPRequestHandler):
    """A page that asks who it is."""

    code = 401

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _serving(code: int) -> Iterator[int]:
    handler = type("Handler", (Page,), {"code": code})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def page() -> Iterator[int]:
    with _serving(401) as port:
        yield port


def _gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def _options(shown: list[str] | None = None, **more: object) -> TunnelOptions:
    show = (lambda line: None) if shown is None else shown.append
    values = {"open_seconds": 20.0, "check_seconds": 5.0, "show": show, **more}
    return TunnelOptions(**values)  # type: ignore[arg-type]


def _client(tmp_path: Path, script: str) -> tuple[str, ...]:
    """Stand in for localtunnel's client with a shell script."""
    path = tmp_path / "lt"
    path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
    path.chmod(0o755)
    return (str(path),)


def _localtunnel(port: int, program: tuple[str, ...], **more: object) -> Tunnel:
    server = "http://127.0.0.1:9"
    options = _options(program=program, server=server, **more)
    return open_tunnel("localtunnel", port, options=options)


# ------------------------------------------------------------------- rules and credentials


def test_user_and_password_are_always_there(page: int, tmp_path: Path) -> None:
    program = _client(tmp_path, f"echo your url is: http://127.0.0.1:{page}; sleep 60")
    with _localtunnel(page, program) as tunnel:
        assert tunnel.user and len(tunnel.password) >= 12
        assert tunnel.password in tunnel.in_words() and tunnel.password not in repr(tunnel)


def test_passwords_are_fresh() -> None:
    assert new_credentials()[1] != new_credentials()[1]


@pytest.mark.parametrize("platform", ["colab", "kaggle"])
def test_the_rule_is_shown_and_consent_needed(
    page: int, platform: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(platform)
    shown: list[str] = []
    with pytest.raises(NotebookError, match="allow_web_ui|word") as caught:
        open_tunnel("proxy", page, options=_options(shown))
    assert "rule" in shown[0] and "allow_web_ui=True" in caught.value.hint


def test_an_unknown_kind_is_refused(page: int) -> None:
    with pytest.raises(ConfigError, match="proxy, gradio, ngrok, localtunnel"):
        open_tunnel("cloudflared", page)


def test_a_port_without_a_page_is_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NotebookError, match="Nothing answers on port"):
            open_tunnel("localtunnel", unused.getsockname()[1], options=_options())


# --------------------------------------------------------------------------------- proxy


def test_colabs_proxy_gives_the_address(colab: FakeColab, page: int) -> None:
    shown: list[str] = []
    tunnel = open_tunnel("proxy", page, ("me", "word"), True, _options(shown))
    assert tunnel.url == colab.proxy_url and (tunnel.user, tunnel.password) == ("me", "word")
    assert f"proxyPort({page})" in colab.asked[-1] and "rule" in shown[0]


def test_a_silent_browser_is_told(colab: FakeColab, page: int) -> None:
    colab.proxy_url = None
    with pytest.raises(NotebookError, match="did not answer"):
        open_tunnel("proxy", page, None, True, _options())


def test_a_refusing_browser_is_told(
    colab: FakeColab, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(script: str, timeout_sec: float) -> None:
        raise MessageError("TypeError: cookies are blocked")

    monkeypatch.setattr(sys.modules["google.colab.output"], "eval_js", refuse)
    with pytest.raises(NotebookError, match="cookies are blocked"):
        open_tunnel("proxy", page, None, True, _options())


def test_elsewhere_there_is_no_proxy(page: int) -> None:
    with pytest.raises(NotebookError, match="Only Colab"):
        open_tunnel("proxy", page, options=_options())


# --------------------------------------------------------- three exits, with any program


def test_healthy(page: int, tmp_path: Path) -> None:
    program = _client(tmp_path, f"echo your url is: http://127.0.0.1:{page}; sleep 60")
    tunnel = _localtunnel(page, program)
    pid = int((tmp_path / "pid").read_text())
    assert tunnel.is_open
    tunnel.close()
    tunnel.close()
    assert not tunnel.is_open and _gone(pid)


def test_died(page: int, tmp_path: Path) -> None:
    program = _client(tmp_path, "echo connection refused: check your firewall >&2; exit 3")
    with pytest.raises(NotebookError) as caught:
        _localtunnel(page, program)
    assert "ended (code 3)" in caught.value.message
    assert "check your firewall" in caught.value.message
    assert "not reachable" in caught.value.hint


def test_timed_out(page: int, tmp_path: Path) -> None:
    program = _client(tmp_path, "echo thinking; sleep 60")
    with pytest.raises(NotebookError, match=r"gave no address in 0.5 s:\nthinking"):
        _localtunnel(page, program, open_seconds=0.5)
    assert _gone(int((tmp_path / "pid").read_text()))


def test_a_page_that_does_not_answer_through_the_tunnel_is_told(page: int, tmp_path: Path) -> None:
    with _serving(502) as broken:
        program = _client(tmp_path, f"echo your url is: http://127.0.0.1:{broken}; sleep 60")
        with pytest.raises(NotebookError, match=r"does not answer there \(HTTP 502\)"):
            _localtunnel(page, program, check_seconds=0.1)
    assert _gone(int((tmp_path / "pid").read_text()))


def test_a_tunnel_that_closes_at_once_is_told(page: int, tmp_path: Path) -> None:
    with _serving(502) as broken:
        program = _client(tmp_path, f"echo your url is: http://127.0.0.1:{broken}; echo bye")
        with pytest.raises(NotebookError, match="its program has ended"):
            _localtunnel(page, program)


def test_without_node_localtunnel_says_so(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels.shutil, "which", lambda name: None)
    with pytest.raises(NotebookError, match="Node"):
        open_tunnel("localtunnel", page, options=_options())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_orphan_when_the_kernel_goes(page: int, tmp_path: Path, number: signal.Signals) -> None:
    program = _client(tmp_path, f"echo your url is: http://127.0.0.1:{page}; sleep 60 & wait")
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from rvc_colab.notebook.tunnels import TunnelOptions, open_tunnel
options = TunnelOptions(program={program!r}, server="http://127.0.0.1:9")
tunnel = open_tunnel("localtunnel", {page}, options=options)
print("open", flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout and parent.stdout.readline().strip() == "open"
    parent.send_signal(number)
    parent.wait()
    assert _gone(int((tmp_path / "pid").read_text()))


# --------------------------------------------------------------------------------- ngrok


@pytest.fixture
def ngrok(page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pyngrok itself, with a stand-in for ngrok's agent; returns where the agent reports."""
    pytest.importorskip("pyngrok")
    program = tmp_path / "ngrok"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_NGROK} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(program))
    monkeypatch.setenv("FAKE_NGROK_URL", f"http://127.0.0.1:{page}")
    monkeypatch.setenv("FAKE_NGROK_LOG", str(tmp_path / "agent.json"))
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    return tmp_path / "agent.json"


def test_pyngrok_opens_and_closes(ngrok: Path, page: int) -> None:
    tunnel = open_tunnel("ngrok", page, options=_options())
    seen = json.loads(ngrok.read_text())
    assert tunnel.url == f"http://127.0.0.1:{page}"
    assert seen["token"] == TOKEN
    tunnel.close()
    assert _gone(seen["pid"])


def test_the_token_is_on_no_command_line(ngrok: Path, page: int) -> None:
    with open_tunnel("ngrok", page, options=_options()):
        assert TOKEN not in " ".join(json.loads(ngrok.read_text())["argv"])
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                assert TOKEN.encode() not in entry.read_bytes()


@pytest.mark.parametrize(
    ("mode", "hint"),
    [
        ("no_token", "notebook's secrets"),
        ("bad_token", "not valid any more"),
        ("limit", "close it first"),
    ],
)
def test_ngroks_refusals_have_words_without_the_token(
    ngrok: Path, page: int, monkeypatch: pytest.MonkeyPatch, mode: str, hint: str
) -> None:
    monkeypatch.setenv("FAKE_NGROK", mode)
    with pytest.raises(NotebookError) as caught:
        open_tunnel("ngrok", page, options=_options())
    assert "ERR_NGROK_" in caught.value.message and hint in caught.value.hint
    assert TOKEN not in str(caught.value)


def test_a_silent_ngrok_is_stopped(ngrok: Path, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NGROK", "silent")
    with pytest.raises(NotebookError, match="gave no address"):
        open_tunnel("ngrok", page, options=_options(open_seconds=2.0))
    assert not ngrok.exists() or _gone(json.loads(ngrok.read_text())["pid"])


def test_without_a_token_ngrok_is_not_started(
    ngrok: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGROK_AUTHTOKEN")
    with pytest.raises(NotebookError, match="no secret NGROK_AUTHTOKEN"):
        open_tunnel("ngrok", page, options=_options())
    assert not ngrok.exists()


def test_the_token_comes_from_kaggles_secrets(
    ngrok: Path, kaggle: FakeSecrets, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGROK_AUTHTOKEN")
    kaggle.secrets["NGROK_AUTHTOKEN"] = TOKEN
    with open_tunnel("ngrok", page, None, True, _options()):
        assert json.loads(ngrok.read_text())["token"] == TOKEN


# -------------------------------------------------------------------------------- gradio


def test_gradio_share_runs_in_a_process_of_its_own(
    page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gradio"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "networking.py").write_text(
        "import subprocess\nfrom gradio import tunneling\n"
        "def setup_tunnel(local_host, local_port, share_token, share_server_address):\n"
        "    proc = subprocess.Popen(['sleep', '60'])\n"
        "    tunneling.CURRENT_TUNNELS.append(type('T', (), {'proc': proc}))\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(proc.pid))\n"
        "    return f'http://{local_host}:{local_port}'\n"
    )
    (package / "tunneling.py").write_text("CURRENT_TUNNELS = []\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    tunnel = open_tunnel("gradio", page, options=_options())
    assert tunnel.url == f"http://127.0.0.1:{page}"
    tunnel.close()
    assert _gone(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_gradio_without_network_says_so(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(NotebookError, match="Gradio's share service ended") as caught:
        open_tunnel("gradio", page, options=_options(open_seconds=60.0))
    assert "Gradio API Server" in caught.value.message


# --------------------------------------------------------------- localtunnel's own client


@pytest.mark.network
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_real_localtunnel_client(page: int, tmp_path: Path) -> None:
    subprocess.run(
        [
            "npm",
            "install",
            "--silent",
            "--no-audit",
            "--prefix",
            str(tmp_path),
            tunnels.LOCALTUNNEL,
        ],
        check=True,
        timeout=240,
    )
    server = LocaltunnelServer()
    program = (str(tmp_path / "node_modules/.bin/lt"),)
    options = _options(server=server.url, program=program)
    tunnel = open_tunnel("localtunnel", page, options=options)
    assert tunnel.url == server.public_url
    assert "192.0.2.7" in tunnel.in_words()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{tunnel.url}/anything", timeout=5)
    assert caught.value.code == 401
    tunnel.close()
    server.close()
    assert not [
        entry
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if str(tmp_path).encode() in _bytes(entry)
    ]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_an_interrupt_while_opening_leaves_nothing(page: int, tmp_path: Path) -> None:
    program = _client(tmp_path, "sleep 60")
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from rvc_colab.notebook.tunnels import TunnelOptions, open_tunnel
open_tunnel("localtunnel", {page}, options=TunnelOptions(program={program!r}))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=20) != 0
    assert _gone(int((tmp_path / "pid").read_text()))
