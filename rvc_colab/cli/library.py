"""The commands around the voice library: `voices list|show|import|export|remove|restore|rename`."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from rvc_colab.cli import drawing
from rvc_colab.workspace import Workspace


def voices_list(arguments: argparse.Namespace) -> None:
    """List the voices of the workspace, and the embedded one."""
    from rvc_colab import api

    cards = api.voices(arguments.workspace)
    record = {"voices": [card.record() for card in cards]}
    _show(arguments, record, "\n".join(card.summary for card in cards))


def voices_show(arguments: argparse.Namespace) -> None:
    """Say in words what a voice file is."""
    from rvc_colab.store.voices import show_voice

    card = show_voice(arguments.name, _workspace(arguments))
    details = {
        "file": card.path,
        "made by": card.dialect,
        "info": card.info,
        "index": card.index or "none found",
    }
    lines = [card.summary, *(f"  {key}: {value}" for key, value in details.items() if value)]
    lines += [f"  note: {warning}" for warning in card.warnings]
    _show(arguments, card.record(), "\n".join(lines))


def voices_import(arguments: argparse.Namespace) -> None:
    """Bring a voice into the workspace."""
    from rvc_colab.store.voice_import import import_voice

    progress = drawing.ConsoleProgress()
    try:
        made = import_voice(
            arguments.source, _workspace(arguments), arguments.name, progress=progress
        )
    finally:
        progress.close()
    lines = [f"imported {made.card.summary}", *(f"  note: {text}" for text in made.warnings)]
    _show(arguments, {**made.card.record(), "warnings": list(made.warnings)}, "\n".join(lines))


def voices_export(arguments: argparse.Namespace) -> None:
    """Write a voice with its index and card as one zip."""
    from rvc_colab.store.voice_export import export_voice

    path = export_voice(arguments.name, arguments.target, _workspace(arguments))
    _show(arguments, {"exported": str(path)}, f"wrote {path}")


def voices_remove(arguments: argparse.Namespace) -> None:
    """Move a voice to the trash."""
    from rvc_colab.store.voices import remove_voice

    path = remove_voice(arguments.name, _workspace(arguments))
    text = f"moved to {path}; undo with: rvc-colab voices restore {shlex.quote(arguments.name)}"
    _show(arguments, {"removed": arguments.name, "trash": str(path)}, text)


def voices_restore(arguments: argparse.Namespace) -> None:
    """Bring a removed voice back."""
    from rvc_colab.store.voices import restore_voice

    path = restore_voice(arguments.name, _workspace(arguments))
    _show(arguments, {"restored": str(path)}, f"restored {path}")


def voices_merge(arguments: argparse.Namespace) -> None:
    """Blend two voices into a new one."""
    from rvc_colab.store.voice_blend import blend_voices

    names = (arguments.first, arguments.second, arguments.new_name)
    made = blend_voices(*names, arguments.share, _workspace(arguments))
    lines = [f"made {made.card.summary}", *(f"  note: {text}" for text in made.warnings)]
    _show(arguments, {**made.card.record(), "warnings": list(made.warnings)}, "\n".join(lines))


def voices_rename(arguments: argparse.Namespace) -> None:
    """Give a voice another name."""
    from rvc_colab.store.voices import rename_voice

    path = rename_voice(arguments.name, arguments.new_name, _workspace(arguments))
    _show(arguments, {"renamed": str(path)}, f"renamed to {path}")


def _workspace(arguments: argparse.Namespace) -> Workspace:
    return Workspace.locate(arguments.workspace)


def _show(arguments: argparse.Namespace, record: dict[str, Any], text: str) -> None:
    if arguments.json:
        drawing.say_json(record)
    else:
        drawing.say(text)
