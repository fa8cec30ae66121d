"""One open page for all tests of the page: small voice, small training, password asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from page_materials import PASSWORD, UPLOAD_MEGABYTES, free_port, write_small_voice

from rvc_colab.workspace import Workspace

# A training that takes seconds: these become the defaults of the form.
SMALL_TRAINING = {
    "RVC_HIDDEN_CHANNELS": "8",
    "RVC_FILTER_CHANNELS": "8",
    "RVC_ENCODER_LAYERS": "1",
    "RVC_UPSAMPLE_INITIAL_CHANNELS": "16",
    "RVC_GIN_CHANNELS": "8",
    "RVC_SPEAKERS": "2",
    "RVC_DISCRIMINATOR_SCALE": "0.0625",
    "RVC_BATCH_SIZE": "2",
    "RVC_SAMPLE_RATE": "16000",
    "RVC_VERSION": "v1",
    "RVC_PRETRAINED": "none",
    "RVC_ENCODER": "tiny",
    "RVC_F0_METHOD": "pyin",
    "RVC_SEGMENT_FRAMES": "16",
}


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An open page with one voice."""
    pytest.importorskip("gradio", reason="the page needs gradio")
    from rvc_colab.ui import PageOptions, launch

    kept = dict(os.environ)
    os.environ.update(SMALL_TRAINING)
    workspace = Workspace(tmp_path_factory.mktemp("page") / "workspace")
    write_small_voice(workspace.weights / "anna.pth")
    options = PageOptions(
        port=free_port(),
        public=True,
        password=PASSWORD,
        upload_megabytes=UPLOAD_MEGABYTES,
    )
    page = launch(workspace, options)
    yield page
    page.close()
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def sign_in(opened: Any) -> Iterator[Any]:
    """Give browsers without a screen, each its own person, signed in."""
    clients: list[httpx.Client] = []

    def come() -> httpx.Client:
        client = httpx.Client(base_url=opened.url, timeout=30, trust_env=False)
        clients.append(client)
        client.get("/")
        answer = client.post("/login", data={"username": "rvc", "password": PASSWORD})
        assert answer.status_code == 200
        return client

    yield come
    for client in clients:
        client.close()
