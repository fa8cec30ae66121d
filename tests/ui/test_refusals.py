from __future__ import annotations

import pytest

from rvc_colab.ui.refusals import Tries, is_foreign, is_shut

CALL = "/gradio_api/queue/join"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a form
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},  # another port
        {"origin": "https://evil.example", "host": "rvc.example"},
        {"origin": "null", "host": "127.0.0.1:7860"},
        {"origin": "http://127.0.0.1:8888", "host": "127.0.0.1:7860"},
    ],
)
def test_what_another_page_posts_is_foreign(headers: dict[str, str]) -> None:
    assert is_foreign("POST", CALL, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a program
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "origin": "https://a.example"},
        {"origin": "http://127.0.0.1:7860", "host": "127.0.0.1:7860"},
        {"origin": "https://a.example", "host": "localhost:7860", "x-forwarded-host": "a.example"},
    ],
)
def test_what_our_page_and_programs_post_is_not(headers: dict[str, str]) -> None:
    assert not is_foreign("POST", CALL, headers)


def test_a_link_from_another_page_is_followed_but_not_out_of_the_door() -> None:
    follows = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert not is_foreign("GET", "/", follows)
    assert is_foreign("GET", "/logout", follows)


def test_another_page_reads_nothing() -> None:
    assert is_foreign("GET", "/config", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"})
    assert is_foreign("GET", "/config", {"origin": "https://evil.example", "host": "a.example"})


@pytest.mark.parametrize("path", ["proxy=http://x/", "vibe-edit", "runs", "dev/reload", "mcp/sse"])
def test_doors_without_use_are_shut(path: str) -> None:
    assert is_shut(f"/gradio_api/{path}")


@pytest.mark.parametrize("path", ["/", CALL, "/gradio_api/file=/a/runs/b.wav", "/assets/a.js"])
def test_doors_in_use_are_open(path: str) -> None:
    assert not is_shut(path)


def test_too_many_wrong_passwords_are_stopped_for_a_while() -> None:
    now = [0.0]
    tries = Tries(most=3, seconds=60, clock=lambda: now[0])
    assert [tries.begin() for _ in range(4)] == [True, True, True, False]
    now[0] = 59.0
    assert not tries.begin()
    now[0] = 61.0
    assert tries.begin()


def test_right_passwords_do_not_count() -> None:
    tries = Tries(most=2, clock=lambda: 0.0)
    for _ in range(10):
        assert tries.begin()
        tries.right()
