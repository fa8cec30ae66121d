"""The public verbs, the same for Python, the command line, the notebooks and the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab import config
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.settings import load
from rvc_colab.workspace import Workspace

if TYPE_CHECKING:
    from rvc_colab.conversion.run import ConversionResult, FolderResult
    from rvc_colab.doctor import Check
    from rvc_colab.store.voices import VoiceCard
    from rvc_colab.training.recipe import TrainingResult

PathLike = str | os.PathLike[str]


def convert(
    source: PathLike,
    target: PathLike,
    *,
    voice: str,
    index: PathLike | None = None,
    workspace: PathLike | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> ConversionResult | FolderResult:
    """Convert a sound file, or every sound file of a folder, into a voice.

    `voice` is a name of the workspace, a path, or `demo`; `index` a path, `none`, or None for the
    one that belongs to the voice. `settings` are the fields of ConversionConfig
    (`transpose=12, index_rate=0.5, …`), and `format` for what is written into a folder. A file's
    `target` may be a folder: the result keeps its name there. Raises RVCError.
    """
    from rvc_colab.conversion.converter import load_converter
    from rvc_colab.conversion.folder import settle_paths
    from rvc_colab.conversion.run import convert_file, convert_folder

    file, format = settings.pop("config", None), settings.pop("format", None)
    choices = load(config.ConversionConfig, settings, file)
    source, target = settle_paths(source, target, format)
    found = None if index is None else str(index)
    converter = load_converter(voice, found, choices, Workspace.locate(workspace))
    shown = progress or SilentProgress()
    if source.is_dir():
        return convert_folder(source, target, converter, choices, shown, format or "wav")
    return convert_file(source, target, converter, choices, shown)


def train(
    name: str,
    folder: PathLike,
    *,
    workspace: PathLike | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> TrainingResult:
    """Train the voice `name` from a folder of recordings; continue the run when there is one.

    `settings` are the fields of TrainingConfig (`epochs=100, sample_rate=48000, …`). The voice and
    its index land in the workspace. Raises RVCError.
    """
    from rvc_colab.training import recipe

    choices = load(config.TrainingConfig, settings, settings.pop("config", None))
    place = Workspace.locate(workspace)
    return recipe.train(name, Path(folder), choices, place, progress or SilentProgress())


def voices(workspace: PathLike | None = None) -> list[VoiceCard]:
    """List the voices of the workspace, and the embedded `demo`."""
    from rvc_colab.store.voices import list_voices

    return list_voices(Workspace.locate(workspace))


def fetch(
    *names: str, workspace: PathLike | None = None, progress: Progress | None = None
) -> list[Path]:
    """Bring known weights (`contentvec`, `rmvpe`, `pretrained_v2/f0G40k`…) into the cache."""
    from rvc_colab.store import assets

    cache = Workspace.locate(workspace).cache
    return [assets.fetch(name, cache, progress=progress) for name in names]


def doctor(workspace: PathLike | None = None) -> list[Check]:
    """Look at the machine, versions, weights and disk; one finding each, with a remedy."""
    from rvc_colab.doctor import examine

    return examine(Workspace.locate(workspace))
