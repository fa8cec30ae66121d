"""The commands around training runs: `runs`, `resume`, `export`, `clean`, `inspect`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rvc_colab.cli import drawing
from rvc_colab.cli.commands import _progress, _report
from rvc_colab.cli.options import add_settings, given
from rvc_colab.errors import ConfigError
from rvc_colab.workspace import Workspace

_HEADER = ("name", "state", "epoch", "step", "best score", "at epoch", "snapshots", "size")


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add these commands to the parser."""
    from rvc_colab.config import TrainingConfig

    add("runs", "list the training runs: state, epoch, best score, size", command="runs_list")
    resume = add("resume", "go on with a run, with the settings it was begun with")
    resume.add_argument("name", metavar="NAME", help="the run's name")
    resume.add_argument("--recordings", metavar="FOLDER", help="when they have moved")
    add_settings(resume, TrainingConfig)
    clean = add("clean", "remove what a run does not need to go on")
    clean.add_argument("name", metavar="NAME", help="the run's name")
    clean.add_argument("--all", action="store_true", help="the whole run; its voice and index stay")
    inspect = add("inspect", "look at recordings before training: faults and advice")
    inspect.add_argument("folder", metavar="FOLDER", help="the recordings")
    inspect.add_argument("--sample-rate", type=int, metavar="HZ", help="of the voice to be trained")
    inspect.add_argument(
        "--output", metavar="DIR", help="write inspection.json and inspection.svg there"
    )
    inspect.add_argument("--strict", action="store_true", help="exit code 2 when there are faults")


def runs_list(arguments: argparse.Namespace) -> None:
    """List the runs of the workspace."""
    from rvc_colab.training.runs import list_runs

    runs = list_runs(_workspace(arguments))
    if arguments.json:
        drawing.say_json({"runs": [run.record() for run in runs]})
        return
    rows = [
        (
            run.name,
            run.state,
            _or_dash(run.epoch),
            _or_dash(run.step),
            "-" if run.best_score is None else f"{run.best_score:.3f}",
            _or_dash(run.best_epoch),
            run.snapshots,
            f"{run.bytes / 1e6:.1f} MB",
        )
        for run in runs
    ]
    drawing.say(drawing.table(_HEADER, rows) if rows else "There are no runs yet.")


def resume(arguments: argparse.Namespace) -> None:
    """Go on with a run."""
    from rvc_colab.config import TrainingConfig
    from rvc_colab.training import recipe
    from rvc_colab.training.runs import stored_run

    place = _workspace(arguments)
    run = stored_run(arguments.name, place)
    config = run.config(given(arguments, TrainingConfig))
    folder = Path(arguments.recordings or run.recordings)
    with _progress() as progress:
        result = recipe.train(arguments.name, folder, config, place, progress)
    _report(arguments, result)


def export_run(arguments: argparse.Namespace) -> None:
    """Write the voice of a snapshot: the newest, the best, or that of an epoch."""
    from rvc_colab import settings
    from rvc_colab.config import TrainingConfig
    from rvc_colab.training import recipe
    from rvc_colab.training.runs import read_run

    place, changes = _workspace(arguments), given(arguments, TrainingConfig)
    run = read_run(arguments.name, place)
    config = (
        settings.load(TrainingConfig, changes, arguments.config)
        if run is None
        else run.config(changes)
    )
    with _progress() as progress:
        made = recipe.export(arguments.name, config, place, progress, _epoch(arguments.epoch))
    _report(arguments, made)


def clean(arguments: argparse.Namespace) -> None:
    """Remove what a run does not need to go on."""
    from rvc_colab.training.runs import clean_run

    _report(arguments, clean_run(arguments.name, _workspace(arguments), arguments.all))


def inspect(arguments: argparse.Namespace) -> None:
    """Look at recordings and say what is wrong with them."""
    from rvc_colab.training.inspection import inspect_folder, refuse_if_strict, write_inspection
    from rvc_colab.training.working_set import WorkingSet

    with _progress() as progress:
        found = inspect_folder(
            arguments.folder,
            WorkingSet.of(_workspace(arguments)),
            arguments.sample_rate,
            progress,
        )
    if arguments.output:
        write_inspection(found, Path(arguments.output))
    _report(arguments, found)
    if arguments.strict:
        refuse_if_strict(found, strict=True)


def _epoch(text: str | None) -> int | str | None:
    if text is None or text == "best":
        return text
    if not text.isdigit():
        raise ConfigError(f"--epoch {text} is neither a number nor `best`.", "Say --epoch best")
    return int(text)


def _or_dash(value: Any) -> Any:
    return "-" if value is None else value


def _workspace(arguments: argparse.Namespace) -> Workspace:
    return Workspace.locate(arguments.workspace)
