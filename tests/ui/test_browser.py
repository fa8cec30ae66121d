"""The page in a real browser: one page, one browser, each journey once. Leaves docs/*.png."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from page_materials import PASSWORD, write_small_voice, write_tone
from playwright.sync_api import sync_playwright

from rvc_colab.ui.texts import languages, say

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TABS = ("convert", "voices", "train", "machine")
PATIENCE_MS = 30_000
SHOTS = os.environ.get("PAGE_SHOTS", "")  # a folder, to keep pictures (docs/ has them)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def state(browser: Any, opened: Any) -> dict[str, Any]:
    """Sign in once; the cookies are used again by every test."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(opened.url)
    _sign_in(page, PASSWORD)
    page.wait_for_selector("#convert-go", timeout=PATIENCE_MS)
    kept: dict[str, Any] = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def visit(browser: Any, state: dict[str, Any], opened: Any) -> Iterator[Any]:
    """Give a page in a browser window of chosen settings, signed in."""
    contexts: list[Any] = []

    def go(**settings: Any) -> Any:
        size = settings.pop("viewport", {"width": 1100, "height": 900})
        context = browser.new_context(storage_state=state, viewport=size, **settings)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.goto(opened.url)
        page.wait_for_selector("#convert-card .rvc-card")  # the greeting has arrived
        return page

    yield go
    for context in contexts:
        context.close()


def _sign_in(page: Any, password: str) -> None:
    page.locator("input").nth(0).fill("rvc")
    page.locator("input[type=password]").fill(password)
    page.locator("button").first.click()


def _open(page: Any, name: str) -> None:
    page.locator("button[role=tab]").nth(TABS.index(name)).click()


def _choose(page: Any, field: str, text: str) -> None:
    page.click(f"{field} input")
    page.get_by_role("option", name=text, exact=True).click()


def _shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def test_a_wrong_password_stays_outside(browser: Any, opened: Any) -> None:
    page = browser.new_page()
    page.goto(opened.url)
    _sign_in(page, "wrong-password")
    page.get_by_text(re.compile("incorrect", re.I)).wait_for(timeout=PATIENCE_MS)
    assert page.locator("#convert-go").count() == 0
    page.close()


def test_an_example_is_converted_and_both_sides_are_heard(visit: Any) -> None:
    page = visit()
    _choose(page, "#convert-voice", "anna")
    _choose(page, "#convert-example", "clip.wav")
    page.wait_for_selector("#convert-source audio, #convert-source canvas, #convert-source svg")
    page.wait_for_function("document.querySelector('#convert-source').innerText.includes('0:0')")
    page.click("#convert-go")
    page.wait_for_selector(".rvc-compare")
    assert page.locator(".rvc-compare polyline.pitch").count() > 0
    length = "document.querySelector('[data-side=b] audio').duration"
    page.wait_for_function(f"{length} > 7 && {length} < 8")
    page.click("[data-play=b]")
    page.wait_for_selector("[data-play=b][aria-pressed=true]")
    page.click("[data-play=a]")
    page.wait_for_selector("[data-play=b][aria-pressed=false]")
    _shot(page, "page-convert")


def test_several_files_become_a_table_and_a_zip(visit: Any, tmp_path: Path) -> None:
    page = visit()
    _choose(page, "#convert-voice", "anna")
    page.get_by_text(say("convert.several")).click()
    (tmp_path / "broken.wav").write_bytes(b"RIFF" + bytes(100))
    files = [write_tone(tmp_path / f"{n}.wav", 0.6) for n in ("one", "two")]
    page.set_input_files("#convert-files input[type=file]", [str(f) for f in files])
    page.wait_for_function("document.querySelector('#convert-files').innerText.includes('two')")
    page.click("#convert-go")
    page.wait_for_selector("#convert-result table")
    assert page.locator("#convert-result tbody tr").count() == 2
    with page.expect_download() as got:
        page.click("#convert-result a.rvc-download")
    assert got.value.suggested_filename == "results.zip"


def test_an_error_is_a_toast_with_the_next_step(visit: Any) -> None:
    page = visit()
    page.click("#convert-go")
    page.get_by_text("There is no sound to convert.").first.wait_for()


def test_a_voice_is_imported_deleted_and_brought_back(
    visit: Any, opened: Any, tmp_path: Path
) -> None:
    write_small_voice(tmp_path / "berta.pth")
    page = visit()
    _open(page, "voices")
    page.set_input_files("#voices-file input[type=file]", str(tmp_path / "berta.pth"))
    page.wait_for_function("document.querySelector('#voices-file').innerText.includes('berta')")
    page.click("#voices-import")
    page.locator("#voices-cards strong", has_text="berta").wait_for()
    _choose(page, "#voices-voice", "berta")
    page.click("#voices-delete")
    page.locator("#voices-cards strong", has_text="berta").wait_for(state="detached")
    assert not (opened.page.workspace.weights / "berta.pth").exists()
    page.click("#voices-undo")
    page.locator("#voices-cards strong", has_text="berta").wait_for()
    _shot(page, "page-voices")


def test_a_training_runs_stops_and_goes_on_after_the_browser_was_closed(
    visit: Any, opened: Any, tmp_path: Path
) -> None:
    tones = {"first": 180.0, "second": 200.0}
    files = [str(write_tone(tmp_path / f"{n}.wav", 3.0, hertz)) for n, hertz in tones.items()]
    page = visit()
    _open(page, "train")
    page.fill("#train-name input, #train-name textarea", "clara")
    page.set_input_files("#train-files input[type=file]", files)
    page.wait_for_function("document.querySelector('#train-files').innerText.includes('second')")
    page.click("#train-look")
    page.wait_for_selector("#train-report table")
    page.click("#train-start")
    page.wait_for_selector("#train-state [role=status]")
    page.wait_for_function("document.querySelector('#train-state').innerText.includes('Training')")
    page.close()
    page = visit()  # the same person comes back
    _open(page, "train")
    page.wait_for_function("document.querySelector('#train-state').innerText.includes('clara')")
    _shot(page, "page-train")
    page.click("#train-stop")
    stopped = say("train.state.stopped")
    page.wait_for_function(
        f"document.querySelector('#train-state').innerText.includes('{stopped}')"
    )
    assert (opened.page.workspace.weights / "clara.pth").is_file()
    first = opened.page.jobs.find("clara")
    _choose(page, "#train-runs", "clara")
    page.click("#train-start")
    page.wait_for_function("document.querySelector('#train-state').innerText.includes('Training')")
    assert opened.page.jobs.find("clara") is not first
    page.click("#train-stop")
    page.wait_for_function(
        f"document.querySelector('#train-state').innerText.includes('{stopped}')"
    )


def test_the_machine_is_shown_and_the_doctor_speaks(visit: Any) -> None:
    page = visit()
    _open(page, "machine")
    _choose(page, "#machine-voice", "anna")
    page.click("#machine-load")
    page.locator("#machine-state td", has_text="anna.pth").first.wait_for()
    page.click("#machine-doctor")
    page.wait_for_function(
        "document.querySelector('#machine-report textarea').value.includes('Python')"
    )
    _shot(page, "page-machine")


def test_every_language_is_spoken(visit: Any) -> None:
    page = visit()
    shown = languages()
    for code in [*list(shown)[1:], "en"]:
        _choose(page, "#language", shown[code])
        page.locator("#convert-go", has_text=say("convert.go", code)).wait_for()
        assert page.locator("button[role=tab]").nth(1).inner_text() == say("voices.tab", code)
        assert page.get_by_text(say("setting.protect", code), exact=True).first.is_visible()
        page.locator("#convert-card", has_text=say("card.index", code)).wait_for()
        if code == "zh":
            _shot(page, "page-chinese")


def test_the_browsers_language_is_the_first(visit: Any) -> None:
    page = visit(locale="fr-FR")
    page.locator("#convert-go", has_text=say("convert.go", "fr")).wait_for()


def test_light_turns_dark_and_stays_so(visit: Any) -> None:
    page = visit()
    shade = "getComputedStyle(document.querySelector('gradio-app')).backgroundColor"
    light = page.evaluate(shade)
    page.click("#dark")
    page.wait_for_function(f"{shade} !== '{light}'")
    page.reload()
    page.wait_for_selector("body.dark #convert-go")
    _shot(page, "page-dark")


def test_a_telephone_shows_everything(visit: Any) -> None:
    page = visit(viewport={"width": 390, "height": 800})
    _shot(page, "page-telephone")
    for name in TABS:
        if name != "convert":
            tab = page.locator("button[role=tab]").nth(TABS.index(name))
            if not tab.is_visible():
                page.locator(".overflow-menu button").first.click()
                page.get_by_role("button", name=say(f"{name}.tab")).last.click()
            else:
                tab.click()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 392, f"{name} is {wide} px wide"


def test_every_control_has_a_name(visit: Any) -> None:
    page = visit()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, select, button')]
        .filter((e) => e.offsetParent && !e.labels?.length && !e.getAttribute('aria-label')
            && !e.innerText?.trim() && !e.title && !e.closest('label') && e.type !== 'file')
        .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert not nameless
