"""Hold one tunnel open in a process of its own, and tell its address on the first line.

Run as a program: `python -P tunnel_agent.py KIND PORT`, KIND being `ngrok` or `gradio`. It prints
`tunnel url: https://…` and lives as long as the tunnel. What goes wrong is printed as one line.
The ngrok token comes in RVC_TUNNEL_TOKEN and is handed on in the environment: on a command line
every process of the machine could read it.
"""

from __future__ import annotations

import inspect
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

TOKEN_VARIABLE = "RVC_TUNNEL_TOKEN"
URL_WORDS = "tunnel url: "


def main(arguments: list[str]) -> int:
    """Open the tunnel, print its address, wait until it ends."""
    kind, port = arguments[0], int(arguments[1])
    try:
        url, process = {"ngrok": _ngrok, "gradio": _gradio}[kind](port)
    except Exception as error:  # whatever it is, its words are all that the other side sees
        code = getattr(error, "ngrok_error_code", None)
        body = getattr(error, "body", "") or getattr(error, "ngrok_error", "") or ""
        _tell(" ".join(f"{type(error).__name__}: {code or ''} {error} {body}".split()))
        return 1
    _tell(URL_WORDS + url)
    return int(process.wait())


def _ngrok(port: int) -> tuple[str, Any]:
    from pyngrok import conf, ngrok

    token = os.environ.pop(TOKEN_VARIABLE, "")
    os.environ.pop("NGROK_AUTHTOKEN", None)
    # pyngrok puts a token of its settings on ngrok's command line; ngrok reads the variable itself.
    folder = tempfile.mkdtemp(prefix="rvc_colab_ngrok_")
    settings = conf.PyngrokConfig(
        config_path=str(Path(folder) / "ngrok.yml"), startup_timeout=30, request_timeout=15
    )
    os.environ["NGROK_AUTHTOKEN"] = token
    tunnel = ngrok.connect(f"http://127.0.0.1:{port}", pyngrok_config=settings)
    return str(tunnel.public_url), ngrok.get_ngrok_process(settings).proc


def _gradio(port: int) -> tuple[str, Any]:
    from gradio import networking, tunneling

    # Its certificate is written to the working folder.
    folder = Path(tempfile.gettempdir()) / "rvc_colab_gradio"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    values: dict[str, Any] = {
        "local_host": "127.0.0.1",
        "local_port": port,
        "share_token": secrets.token_urlsafe(32),
        "share_server_address": os.environ.get("GRADIO_SHARE_SERVER_ADDRESS"),
        "share_server_tls_certificate": None,
    }
    known = inspect.signature(networking.setup_tunnel).parameters
    url = networking.setup_tunnel(**{name: v for name, v in values.items() if name in known})
    return str(url), tunneling.CURRENT_TUNNELS[-1].proc


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
