"""The public verbs, the same for Python, the command line, the notebooks and the page."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rvc_colab import config
from rvc_colab.memory.allocator import limit_primitive_cache
from rvc_colab.memory.process import default_lifecycle, reload_settings
from rvc_colab.profiling import profiled
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
    from rvc_colab.conversion.folder import settle_paths
    from rvc_colab.conversion.shared import SharedConversion

    limit_primitive_cache(os.environ)
    file, format = settings.pop("config", None), settings.pop("format", None)
    choices = load(config.ConversionConfig, settings, file)
    place = Workspace.locate(workspace)
    if file:
        reload_settings(file)
    source, target = settle_paths(source, target, format)
    found = None if index is None else str(index)
    shared = SharedConversion(voice, found, choices, place)
    shown = progress or SilentProgress()
    with profiled(choices.profiling, place, "convert") as profile:
        result: ConversionResult | FolderResult
        if source.is_dir():
            result = shared.folder(source, target, shown, format or "wav")
        else:
            result = shared.file(source, target, shown)
    return replace(result, profile=profile.record()) if profile else result


def speak(
    text: str,
    target: PathLike,
    *,
    voice: str,
    index: PathLike | None = None,
    workspace: PathLike | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> ConversionResult:
    """Speak a text with the system's speech engine and convert that into a voice.

    `settings` are the fields of SpeechConfig (`speech_language="es"`) and of ConversionConfig; the
    rest is as for `convert`. Raises RVCError.
    """
    from rvc_colab.audio import speech

    spoken = {k: settings.pop(k) for k in config.SpeechConfig.model_fields if k in settings}
    choices = load(config.SpeechConfig, spoken, settings.get("config"))
    with tempfile.TemporaryDirectory(prefix="rvc_speech_") as folder:
        source = Path(folder) / "speech.wav"
        speaker = speech.speak(text, source, choices)
        verbatim = {"index": index, "workspace": workspace, "progress": progress, **settings}
        result = cast("ConversionResult", convert(source, target, voice=voice, **verbatim))
    told = {"speech": f"{speaker.engine}, {choices.speech_language}"}
    return replace(result, source=None, voice=result.voice | told)


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

    file = settings.pop("config", None)
    choices = load(config.TrainingConfig, settings, file)
    place = Workspace.locate(workspace)
    if file:
        reload_settings(file)
    lifecycle = default_lifecycle()
    lifecycle.preload_for_task("train")  # idle models of other work leave it the room
    try:
        with profiled(choices.profiling, place, "train") as profile:
            result = recipe.train(name, Path(folder), choices, place, progress or SilentProgress())
    finally:
        lifecycle.cleanup_for_task("train")
    if profile:
        result.report["profile"] = profile.record()
    return result


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
