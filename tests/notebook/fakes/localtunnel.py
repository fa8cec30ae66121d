"""A localtunnel server for tests: hands out an address, relays HTTP over the client's connections.

The protocol: GET /?new answers {id, port, max_conn_count, url}; the client then keeps
connections open to that port, and the server sends each visitor's request down one of them.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONNECTIONS = 2


class LocaltunnelServer:
    """Serve on 127.0.0.1; `url` is the address for the client's --host."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[socket.socket] = queue.Queue()
        self._relay = socket.create_server(("127.0.0.1", 0))
        self._visitors = socket.create_server(("127.0.0.1", 0))
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._api.server_port}"
        for work in (self._api.serve_forever, self._accept_clients, self._accept_visitors):
            threading.Thread(target=work, daemon=True).start()

    @property
    def public_url(self) -> str:
        """The address that visitors use."""
        return f"http://127.0.0.1:{self._visitors.getsockname()[1]}"

    def close(self) -> None:
        """Stop serving."""
        self._api.shutdown()
        self._api.server_close()
        for server in (self._relay, self._visitors):
            server.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Api(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = {
                    "id": "test",
                    "port": outer._relay.getsockname()[1],
                    "max_conn_count": CONNECTIONS,
                    "url": outer.public_url,
                }
                password = self.path == "/mytunnelpassword"
                data = b"192.0.2.7" if password else json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain" if password else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Api

    def _accept_clients(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.waiting.put(self._relay.accept()[0])

    def _accept_visitors(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor = self._visitors.accept()[0]
                threading.Thread(target=self._serve, args=(visitor,), daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        client = self.waiting.get(timeout=10)
        threading.Thread(target=_pump, args=(visitor, client), daemon=True).start()
        _pump(client, visitor)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
