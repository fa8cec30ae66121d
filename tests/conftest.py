"""Shared fixtures: no test reaches the network, and each has its own workspace."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

# Set before torch is imported anywhere: two cores are shared by several test processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

GOLDEN = Path(__file__).parent / "golden"


def _is_local(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    try:
        return host in {"localhost", ""} or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine, unless the test is marked `network`."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if not _is_local(address):
            raise OSError(f"tests do not use the network, but {address} was asked for")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the caller's RVC_* and URVC_* variables and give each test a workspace of its own."""
    for name in list(os.environ):
        if name.startswith(("RVC_", "URVC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RVC_WORKSPACE", str(tmp_path / "workspace"))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference numbers; its README files say how each was made."""
    return GOLDEN
