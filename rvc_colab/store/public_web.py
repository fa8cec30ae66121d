"""Web addresses that a stranger names: they must not lead to this machine or to its network.

What a name means is asked once, judged, and connected to, so that neither a redirect nor a second
answer of the name server leads anywhere else.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from rvc_colab.errors import AssetError


def public_opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses, and those they lead on to, in the public internet only."""
    return urllib.request.build_opener(_PublicHTTP, _PublicHTTPS, _NoFTP)


def is_public(host: str) -> bool:
    """Tell whether an IP address lies in the public internet, not on this machine or beside it."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return address.is_global and not address.is_multicast


def _connect(
    address: tuple[str, int], timeout: float | None = None, source_address: Any = None
) -> socket.socket:
    """Connect to where a name leads now, so that no later answer of the name server counts."""
    host, port = address
    proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}
    if host in proxies:  # what it may reach is the proxy's to say
        return socket.create_connection(address, timeout, source_address)
    found = [place[4][0] for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(is_public(str(place)) for place in found):
        raise AssetError(
            f"{host} lies on this machine or in its own network.",
            "Through an open page only addresses of the public internet are fetched.",
        )
    return socket.create_connection((str(found[0]), port), timeout, source_address)


class _PublicConnection(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._create_connection = _connect


class _PublicSecureConnection(http.client.HTTPSConnection):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._create_connection = _connect


class _PublicHTTP(urllib.request.HTTPHandler):
    def http_open(self, request: Any) -> Any:
        """Open an address, or the one it led to."""
        return self.do_open(_PublicConnection, request)


class _PublicHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, request: Any) -> Any:
        """Open an address, or the one it led to."""
        return self.do_open(_PublicSecureConnection, request)


class _NoFTP(urllib.request.FTPHandler):
    def ftp_open(self, request: Any) -> Any:
        """Refuse it."""
        raise AssetError(f"{request.host} sends on to FTP.", "Give the address of the file itself.")
