"""The commands of the two journeys and the demo: `convert`, `train` and its steps, `demo`."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rvc_colab.cli import drawing
from rvc_colab.cli.options import given

EXIT_PARTLY = 1


def convert(arguments: argparse.Namespace) -> int:
    """Convert a file or folder and say what was done."""
    from rvc_colab import api

    with _progress() as progress:
        result = api.convert(
            arguments.input,
            arguments.output,
            format=arguments.format,
            **_how(arguments),
            progress=progress,
        )
    _report(arguments, result)
    return EXIT_PARTLY if getattr(result, "failures", None) else 0


def speak(arguments: argparse.Namespace) -> int:
    """Speak a text, convert it and say what was done."""
    import sys

    from rvc_colab import api
    from rvc_colab.config import SpeechConfig

    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    with _progress() as progress:
        result = api.speak(
            text,
            arguments.output,
            **given(arguments, SpeechConfig),
            **_how(arguments),
            progress=progress,
        )
    _report(arguments, result)
    return 0


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return into which voice and with which settings sound is converted."""
    from rvc_colab.config import ConversionConfig

    named = {name: getattr(arguments, name) for name in ("voice", "index", "workspace", "config")}
    return named | given(arguments, ConversionConfig)


def train(arguments: argparse.Namespace) -> int:
    """Train a voice and say where it is."""
    from rvc_colab import api
    from rvc_colab.config import TrainingConfig

    with _progress() as progress:
        result = api.train(
            arguments.name,
            arguments.folder,
            workspace=arguments.workspace,
            progress=progress,
            config=arguments.config,
            **given(arguments, TrainingConfig),
        )
    _report(arguments, result)
    return 0


def training_step(arguments: argparse.Namespace) -> int:
    """Run one step of the training journey."""
    from rvc_colab import config, settings
    from rvc_colab.profiling import profiled
    from rvc_colab.training import recipe
    from rvc_colab.workspace import Workspace

    choices = settings.load(
        config.TrainingConfig, given(arguments, config.TrainingConfig), arguments.config
    )
    place = Workspace.locate(arguments.workspace)
    step = getattr(recipe, arguments.step)
    words = [arguments.name, *([arguments.folder] if arguments.step == "preprocess" else [])]
    with _progress() as progress, profiled(choices.profiling, place, arguments.step) as profile:
        result = step(*words, choices, place, progress)
    _report(arguments, result, profile.record() if profile else None)
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the offline demo."""
    from rvc_colab.demo import demo as run

    with _progress() as progress:
        result = run(arguments.output, workspace=arguments.workspace, progress=progress)
    if arguments.json:
        drawing.say_json({**result.report, "folder": str(result.folder)})
    else:
        share = result.report["voiced_frames_at_the_asked_pitch"]
        drawing.say(f"{result.folder}/: source.wav, converted.wav, picture.png, report.json")
        drawing.say(f"{share:.0%} of the voiced frames lie within 3 % of the asked pitch")
    return 0


def _report(
    arguments: argparse.Namespace, result: Any, profile: dict[str, Any] | None = None
) -> None:
    """Print a result: its record as one JSON line, or in words with its warnings."""
    record = result.record()
    if profile := profile or record.get("profile"):
        drawing.say_profile(profile)
        record["profile"] = profile
    if arguments.json:
        drawing.say_json(record)
        return
    drawing.say(result.in_words())


@contextmanager
def _progress() -> Iterator[drawing.ConsoleProgress]:
    """Draw progress; the first Ctrl-C or SIGTERM asks for a clean stop, the second ends at once.

    Meanwhile memory is watched, and given back where it runs short.
    """
    from rvc_colab.memory import default_lifecycle

    progress = drawing.ConsoleProgress()
    lifecycle = default_lifecycle()
    lifecycle.start_automatic()
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        progress.cancel()

    in_main_thread = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield progress
    finally:
        progress.close()
        lifecycle.stop_automatic()
        for number, handler in before.items():
            signal.signal(number, handler)
