"""A stand-in for ngrok's agent, as far as pyngrok talks to it: log lines and the local API.

Run as a program by pyngrok. FAKE_NGROK chooses how it behaves: ok, no_token, bad_token, silent,
limit. It answers `url` from FAKE_NGROK_URL and writes what it saw to FAKE_NGROK_LOG.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

MODE = os.environ.get("FAKE_NGROK", "ok")


def log(**fields):
    line = " ".join(f'{key}="{value}"' for key, value in fields.items())
    sys.stdout.write(f"t=2026-01-01T00:00:00+0000 {line}\n")
    sys.stdout.flush()


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {"endpoints": []})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if MODE == "limit":
            error = "limited to 1 simultaneous agent sessions. ERR_NGROK_108"
            return self.answer(502, {"error_code": 103, "msg": error})
        url = os.environ["FAKE_NGROK_URL"]
        upstream = body.get("upstream") or {"url": body.get("addr")}
        return self.answer(201, {"name": body["name"], "url": url, "upstream": upstream})

    def answer(self, code, content):
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


token = os.environ.get("NGROK_AUTHTOKEN", "")
with Path(os.environ["FAKE_NGROK_LOG"]).open("w") as handle:
    json.dump({"argv": sys.argv, "token": token, "pid": os.getpid()}, handle)
if MODE == "silent":
    time.sleep(60)
if MODE == "no_token" or not token:
    log(lvl="eror", msg="failed to auth", err="authentication failed: ERR_NGROK_4018")
    sys.exit(1)
if MODE == "bad_token":
    log(lvl="eror", msg="failed", err=f"authentication failed: token {token} ERR_NGROK_107")
    sys.exit(1)
server = HTTPServer(("127.0.0.1", 0), Api)
log(lvl="info", msg="starting web service", obj="web", addr=f"127.0.0.1:{server.server_port}")
log(lvl="info", msg="client session established", obj="csess")
log(lvl="info", msg="tunnel session started", obj="tunnels.session")
server.serve_forever()
