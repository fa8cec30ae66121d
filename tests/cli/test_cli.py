from __future__ import annotations

import io
import json
import logging

import pytest

from rvc_colab import cli
from rvc_colab.cli import drawing
from rvc_colab.errors import Cancelled, VoiceError


def _ending_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def command(arguments: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_command", lambda name: command)


@pytest.mark.parametrize(
    ("error", "code", "first"),
    [
        (VoiceError("It is\nnone.", "Get\nanother."), 2, "error: It is none."),
        (ZeroDivisionError("by zero"), 2, "error: ZeroDivisionError: by zero"),
        (OSError(28, "No space left", "a.wav"), 2, "error: a.wav: No space left."),
        (Cancelled("Stopped.", "Go on."), 130, "error: Stopped."),
    ],
)
def test_errors_are_two_lines(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    first: str,
) -> None:
    _ending_with(monkeypatch, error)
    assert cli.main(["doctor"]) == code
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 2 and lines[0] == first and lines[1].startswith("  → ")
    assert not told.out


def test_ctrl_c_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ending_with(monkeypatch, KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ending_with(monkeypatch, VoiceError("None.", "Another."))
    assert cli.main(["--debug", "doctor"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["convert"], ["bogus"], ["convert", "a", "b", "--bogus"], ["ui", "--port", "70000"]]
)
def test_wrong_words_are_refused_in_two_lines(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert cli.main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_warning_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    drawing.set_up_logging(verbose=False)
    logging.getLogger("rvc_colab.any").warning("It is loud.")
    drawing.say("done\nwarning: It is loud.\nwarning: It is long.")
    told = capsys.readouterr()
    assert told.err == "WARNING: It is loud.\n"
    assert told.out == "done\nwarning: It is long.\n"


def test_libraries_are_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    drawing.set_up_logging(verbose=False)
    logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_name_can_be_printed(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    drawing.set_up_logging(verbose=False)
    name = "é\udcff😀"
    drawing.say(name)
    drawing.say_json({"target": name})
    stream.flush()
    lines = stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert json.loads(lines[1]) == {"target": name}
