"""The commands around voices and known weights: `voices …`, `fetch`."""

from __future__ import annotations

import argparse
from typing import Any

from rvc_colab.cli import drawing
from rvc_colab.workspace import Workspace


def _show(arguments: argparse.Namespace, record: dict[str, Any], text: str) -> None:
    drawing.say_json(record) if arguments.json else drawing.say(text)
