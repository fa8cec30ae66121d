"""`rvc-colab gpu`: what a person and a program see; `--profile`; what is set before torch loads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rvc_colab import api
from rvc_colab.cli import build_parser, main
from rvc_colab.conversion.results import ConversionResult
from rvc_colab.memory import default_lifecycle, forget_process, reports


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RVC_CONFIG", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    forget_process()
    yield
    forget_process()


def test_the_machine_is_shown_in_words(capsys) -> None:
    assert main(["gpu"]) == 0
    text = capsys.readouterr().out
    for words in ("GPU", "RAM", "Disk", "Models on cpu", "No models are loaded", "evictions"):
        assert words in text


def test_the_machine_is_shown_to_programs_in_one_line(capsys) -> None:
    assert main(["gpu", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert {"devices", "models", "alerts", "sample", "settings", "statistics"} <= set(record)
    assert record["devices"][-1]["device"] == "cpu" and record["devices"][-1]["total_bytes"] > 0


def test_the_settings_of_the_file_are_the_managers(capsys, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("gpu:\n  cleanup_threshold_percent: 61\n  memory_monitoring_interval: 2\n")
    main(["gpu", "--json", "--config", str(file)])
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["cleanup_threshold_percent"] == 61
    assert settings["memory_monitoring_interval"] == 2


def test_a_setting_out_of_bounds_is_refused(capsys, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("gpu:\n  idle_timeout_minutes: -1\n")
    assert main(["gpu", "--config", str(file)]) == 2
    assert "idle_timeout_minutes = -1 (in settings.yaml)" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["gpu", "--watch"], ["gpu", "--watch", "0.5", "--json"]])
def test_watching_shows_it_again_until_it_is_interrupted(capsys, monkeypatch, words) -> None:
    looks: list[float] = []

    def watch(lifecycle, seconds, make):
        for _ in range(3):
            looks.append(seconds)
            yield make(lifecycle)
        raise KeyboardInterrupt

    monkeypatch.setattr(reports, "watch", watch)
    assert main(words) == 130
    assert looks == [2.0 if len(words) == 2 else 0.5] * 3
    marker = '"devices"' if "--json" in words else "Models on cpu"
    assert capsys.readouterr().out.count(marker) == 3


def test_watching_too_often_is_refused(capsys) -> None:
    assert main(["gpu", "--watch", "0"]) == 2
    assert "0.1 s at least" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["--profile", "--profiling"])
@pytest.mark.parametrize(
    "command", [["convert", "a", "b", "--voice", "demo"], ["train", "n", "f"], ["fit", "n"]]
)
def test_a_profile_can_be_asked_for_everywhere(command: list[str], spelling: str) -> None:
    assert build_parser().parse_args([*command, spelling]).profiling is True


def test_the_profile_is_drawn_beside_the_result(capsys, monkeypatch, tmp_path: Path) -> None:
    profile = {"trace": str(tmp_path / "x.trace.json"), "table": "stage calls", "stages": []}
    watched: list[bool] = []

    def convert(*_: object, **asked: object) -> ConversionResult:
        watched.append(default_lifecycle().automatic)
        assert asked["profiling"] is True
        return ConversionResult(40000, 100, {}, [], {}, 1, 0, 1.0, profile=profile)

    monkeypatch.setattr(api, "convert", convert)
    assert main(["convert", "a.wav", "b.wav", "--voice", "demo", "--profile", "--json"]) == 0
    heard = capsys.readouterr()
    assert "stage calls" in heard.err and "x.trace.json" in heard.err
    assert json.loads(heard.out)["profile"]["trace"] == profile["trace"]
    assert watched == [True] and not default_lifecycle().automatic


def test_the_allocator_is_set_before_a_command_runs(capsys) -> None:
    main(["gpu", "--json"])
    assert "expandable_segments:True" in os.environ["PYTORCH_CUDA_ALLOC_CONF"]
