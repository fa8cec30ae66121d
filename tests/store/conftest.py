"""A web server on this machine, whose behaviour each test sets."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class FileServer:
    """Serves `content` at any path; counts requests; can cut, refuse, lie."""

    def __init__(self):
        self.content = b""
        self.status = 200
        self.content_type = "application/octet-stream"
        self.etag = '"one"'
        self.cut_after = None  # bytes of the first answer, then the connection ends
        self.redirect = ""  # where every request is sent on to
        self.ranges = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request):
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        if self.status != 200:
            request.send_error(self.status)
            return
        body = self.content
        resume = asked and request.headers.get("If-Range") == self.etag
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if resume else 0
        request.send_response(206 if resume else 200)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(body) - first))
        if self.etag:
            request.send_header("ETag", self.etag)
        request.end_headers()
        body = body[first:]
        if self.cut_after is not None:
            body, self.cut_after = body[: self.cut_after], None
        request.wfile.write(body)


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr("rvc_colab.store.downloads.PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = FileServer()
    yield served
    served.server.shutdown()
    served.server.server_close()
