"""One open page for all tests of the page: small voice, small training, password asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from page_browser import ARGUMENTS, CHROMIUM, EXAMPLE, NAMED, PATIENCE_MS
from page_browser import sign_in as fill_in
from page_materials import PASSWORD, UPLOAD_MEGABYTES, free_port, write_small_voice, write_tone

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
    write_tone(workspace.root / "examples" / EXAMPLE, 1.2)
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start the browser: the one that CHROMIUM names, or the system's own."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed; CHROMIUM=PATH names another browser of its kind")
    if not NAMED:
        pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def signed_in(browser: Any, opened: Any) -> dict[str, Any]:
    """Sign in once; every window begins with these cookies, so all are one person's."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(opened.url)
    fill_in(page, PASSWORD)
    page.wait_for_selector("#convert-go", timeout=PATIENCE_MS)
    kept: dict[str, Any] = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def visit(browser: Any, signed_in: dict[str, Any], opened: Any) -> Iterator[Any]:
    """Give the page in a browser window of chosen settings, signed in."""
    contexts: list[Any] = []

    def go(**settings: Any) -> Any:
        size = settings.pop("viewport", {"width": 1100, "height": 900})
        context = browser.new_context(storage_state=signed_in, viewport=size, **settings)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.goto(opened.url)
        page.wait_for_selector("#convert-card .rvc-card")  # the greeting has arrived
        return page

    yield go
    for context in contexts:
        context.close()
