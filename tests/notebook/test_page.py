"""The page opens by name only: the rule first, then page and way together or not at all."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes.colab import FakeColab
from fakes.kaggle import FakeSecrets

from rvc_colab.errors import ConfigError, MissingExtraError, NotebookError
from rvc_colab.notebook import page
from rvc_colab.notebook.tunnels import Tunnel
from rvc_colab.workspace import Workspace


@dataclass
class Served:
    """A page that serves nothing."""

    options: Any
    url: str = "http://127.0.0.1:7860"
    port: int = 7860
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Served]:
    opened: list[Served] = []

    def launch(workspace: Workspace, options: Any = None) -> Served:
        opened.append(Served(options))
        return opened[-1]

    stand_in = types.ModuleType("rvc_colab.ui")
    stand_in.__dict__.update(launch=launch, PageOptions=types.SimpleNamespace)
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "rvc_colab.ui", stand_in)
    return opened


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize("platform", ["colab", "kaggle"])
def test_without_consent_the_rule_is_shown_and_nothing_opens(
    platform: str, request: pytest.FixtureRequest, served: list[Served], place: Workspace
) -> None:
    request.getfixturevalue(platform)
    told: list[str] = []
    assert page.launch_ui(place, show=told.append) is None
    assert "rule" in told[0] and "allow_web_ui" in told[1] and served == []


def test_on_colab_the_hosts_proxy_is_used_and_the_page_asks_for_a_password(
    colab: FakeColab, served: list[Served], place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def open_tunnel(*arguments: Any) -> Tunnel:
        asked.append(arguments)
        return Tunnel(arguments[0], "https://proxy.example", *arguments[2])

    monkeypatch.setattr(page, "open_tunnel", open_tunnel)
    told: list[str] = []
    opened = page.launch_ui(place, allow_web_ui=True, show=told.append)
    assert opened is not None and asked[0][:2] == ("proxy", 7860)
    assert served[0].options.public and len(served[0].options.password) >= 8
    assert "https://proxy.example" in told[-1] and served[0].options.password in told[-1]
    opened.close()
    assert served[0].closed


def test_when_the_way_cannot_be_opened_the_page_is_closed_again(
    kaggle: FakeSecrets, served: list[Served], place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Tunnel:
        raise NotebookError("ngrok ended (code 1).")

    monkeypatch.setattr(page, "open_tunnel", refuse)
    with pytest.raises(NotebookError):
        page.launch_ui(place, True, "ngrok", lambda line: None)
    assert served[0].closed


def test_at_home_the_page_opens_on_this_machine(served: list[Served], place: Workspace) -> None:
    told: list[str] = []
    assert page.launch_ui(place, show=told.append) is not None
    assert told == ["Open http://127.0.0.1:7860"] and served[0].options is None


def test_an_unknown_way_is_refused_before_the_page_opens(
    colab: FakeColab, served: list[Served], place: Workspace
) -> None:
    with pytest.raises(ConfigError):
        page.launch_ui(place, True, "cloudflared", lambda line: None)
    assert served == []


def test_a_missing_page_says_how_to_get_it(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        page.launch_ui(place)
    assert "pip install" in caught.value.hint
