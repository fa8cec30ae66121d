"""The page in a real browser: coming in, converting, languages, light, narrow screens."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_browser import (
    EXAMPLE,
    PATIENCE_MS,
    SHOTS,
    TABS,
    choose,
    download,
    give_files,
    open_tab,
    shot,
    sign_in,
    take_example,
    wait_for_text,
    wait_until,
)
from page_materials import write_tone

from rvc_colab.audio.files import probe, read
from rvc_colab.ui.access import person_of
from rvc_colab.ui.jobs import RUNNING
from rvc_colab.ui.texts import languages, say


def _pitch_of(path: Path) -> float:
    """Return the median pitch of a sound in Hz."""
    from rvc_colab.features.f0 import load_f0_estimator

    f0_hz = load_f0_estimator("pyin")(read(path, 16000)[0])
    return float(np.median(f0_hz[f0_hz > 0]))


def test_a_wrong_password_stays_outside(browser: Any, opened: Any) -> None:
    page = browser.new_page()
    page.goto(opened.url)
    sign_in(page, "wrong-password")
    page.get_by_text(re.compile("incorrect", re.I)).wait_for(timeout=PATIENCE_MS)
    assert page.locator("#convert-go").count() == 0
    page.close()


def test_a_low_tone_comes_back_an_octave_higher(visit: Any, tmp_path: Path) -> None:
    source = write_tone(tmp_path / "low.wav", 1.5, 110.0)
    page = visit()
    choose(page, "#convert-voice", "demo")
    page.set_input_files("#convert-source input[type=file]", str(source))
    page.wait_for_selector("#convert-source [aria-label*=lay]")
    choose(page, "#convert-preset", say("preset.octave_up"))
    page.wait_for_function("document.querySelector('#setting-transpose input').value == '12'")
    page.click("#convert-go")
    result = download(page, ".rvc-compare a.rvc-download", tmp_path)
    assert probe(result).seconds == pytest.approx(1.5, abs=0.01)
    assert 0.05 < float(np.abs(read(result)[0]).max()) <= 1.0
    assert _pitch_of(source) == pytest.approx(110, rel=0.02)
    assert _pitch_of(result) == pytest.approx(220, rel=0.03)


def test_an_example_is_converted_and_both_sides_are_heard(visit: Any) -> None:
    page = visit()
    choose(page, "#convert-voice", "demo" if SHOTS else "anna")
    take_example(page, "clip.wav" if SHOTS else EXAMPLE)
    page.click("#convert-go")
    page.wait_for_selector(".rvc-compare")
    assert page.locator(".rvc-compare polyline.pitch").count() > 0
    length = "document.querySelector('[data-side=b] audio').duration"
    page.wait_for_function(f"{length} > 1")
    page.click("[data-play=b]")
    page.wait_for_function("document.querySelector('[data-side=b] audio').currentTime > 0.1")
    page.click("[data-play=a]")
    page.wait_for_selector("[data-play=b][aria-pressed=false]")
    at = "document.querySelector('[data-side=a] audio').currentTime"
    page.wait_for_function(f"{at} > 0.1")  # it goes on where the other side was
    shot(page, "page-convert")


def test_several_files_become_a_table_and_a_zip(visit: Any, tmp_path: Path) -> None:
    page = visit()
    choose(page, "#convert-voice", "anna")
    page.get_by_role("tab", name=say("convert.several")).click()
    lengths = {"one": 0.6, "two": 0.9}
    give_files(
        page, "#convert-files", *(write_tone(tmp_path / f"{n}.wav", s) for n, s in lengths.items())
    )
    page.click("#convert-go")
    page.wait_for_selector("#convert-result table")
    assert page.locator("#convert-result tbody tr").count() == 2
    packed = download(page, "#convert-result a.rvc-download", tmp_path)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "results")
    found = {path.name: probe(path).seconds for path in (tmp_path / "results").iterdir()}
    assert found == {f"{n}_anna.wav": pytest.approx(s, abs=0.01) for n, s in lengths.items()}


def test_a_conversion_is_stopped_and_the_next_one_runs(
    visit: Any, opened: Any, tmp_path: Path
) -> None:
    page = visit()
    person = person_of({c["name"]: c["value"] for c in page.context.cookies()})
    choose(page, "#convert-voice", "anna")
    page.get_by_role("tab", name=say("convert.several")).click()
    long = [write_tone(tmp_path / f"long{n}.wav", 30.0) for n in range(4)]
    give_files(page, "#convert-files", *long)
    page.click("#convert-go")
    newest = opened.page.conversions.newest
    wait_until(lambda: (job := newest(person)) and len(job.files) == 4, "the conversion is asked")
    job = newest(person)
    wait_until(lambda: job.state == RUNNING, "the conversion runs")
    page.click("#convert-stop")
    page.locator("#convert-result", has_text=say("convert.stopped")).wait_for()
    assert job.ended.is_set()
    page.get_by_role("tab", name=say("convert.one")).click()
    take_example(page)
    page.click("#convert-go")
    page.wait_for_selector(".rvc-compare")
    made = {path.name for path in (opened.page.outputs / person).glob("*/long*")}
    assert len(made) < len(long)


def test_an_error_is_a_toast_with_the_next_step(visit: Any) -> None:
    page = visit()
    page.click("#convert-go")
    page.get_by_text("There is no sound to convert.").first.wait_for()
    page.get_by_text("Drop a file, record, or take an example.").first.wait_for()


def test_every_language_is_spoken(visit: Any) -> None:
    page = visit()
    shown = languages()
    for code in [*list(shown)[1:], "en"]:
        choose(page, "#language", shown[code])
        page.locator("#convert-go", has_text=say("convert.go", code)).wait_for()
        assert page.locator("button[role=tab]").nth(1).inner_text() == say("voices.tab", code)
        assert page.get_by_text(say("setting.protect", code), exact=True).first.is_visible()
        page.locator("#convert-card", has_text=say("card.index", code)).wait_for()
        if code == "zh":
            shot(page, "page-chinese")


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
    page.wait_for_selector("#convert-card .rvc-card")
    shot(page, "page-dark")


def test_a_telephone_shows_everything(visit: Any) -> None:
    page = visit(viewport={"width": 390, "height": 800})
    shot(page, "page-telephone")
    for name in TABS:
        open_tab(page, name)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{name} is {wide} px wide"
        for part in ("button.primary", "input:not([type=file])", "textarea"):
            out = page.evaluate(OUTSIDE, part)
            assert not out, f"{name}: out of reach: {out}"


OUTSIDE = """(part) => [...document.querySelectorAll(part)]
    .filter((e) => e.offsetParent && !e.closest('.rvc-table'))
    .map((e) => [e.getBoundingClientRect(), e])
    .filter(([box]) => box.width && (box.left < 0 || box.right > window.innerWidth + 1))
    .map(([, e]) => e.outerHTML.slice(0, 120))"""


def test_every_control_has_a_name(visit: Any) -> None:
    page = visit()
    for name in TABS:
        open_tab(page, name)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('input, textarea, select, button')]
            .filter((e) => e.offsetParent && !e.labels?.length && !e.getAttribute('aria-label')
                && !e.innerText?.trim() && !e.title && !e.closest('label') && e.type !== 'file')
            .map((e) => e.outerHTML.slice(0, 120))"""
        )
        assert not nameless, name


def test_the_keyboard_alone_converts(visit: Any) -> None:
    page = visit()
    page.locator("#convert-example input").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_text(page, "#convert-source", "0:0")
    page.locator("#convert-go").focus()
    page.keyboard.press("Enter")
    page.locator("[data-play=b]").focus()
    page.keyboard.press("Space")
    page.wait_for_selector("[data-play=b][aria-pressed=true]")
