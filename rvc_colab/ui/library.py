"""What the voices tab asks of the library, with the checks that a page needs."""

from __future__ import annotations

import html
from pathlib import Path

from rvc_colab.config import TrainingConfig, Version
from rvc_colab.errors import VoiceError
from rvc_colab.progress import Progress
from rvc_colab.store.voice_blend import blend_voices
from rvc_colab.store.voice_export import export_voice
from rvc_colab.store.voice_import import import_voice
from rvc_colab.store.voices import VoiceCard, given_path, show_voice
from rvc_colab.ui.page import Page
from rvc_colab.ui.player import file_address


def import_from(
    page: Page, source: str, is_upload: bool, name: str, progress: Progress
) -> tuple[VoiceCard, tuple[str, ...]]:
    """Import a voice; through a public page a path on this machine is no source."""
    if not source.strip():
        raise VoiceError("There is nothing to import.", "Drop a file, or give an address.")
    if not is_upload and page.options.public and given_path(source.strip()):
        raise VoiceError(
            "Through an open page no files of this machine are imported.",
            "Upload the file, or give a web address or owner/repo of the Hugging Face hub.",
        )
    name, public = name.strip(), page.options.public
    made = import_voice(source, page.workspace, name or None, progress=progress, public=public)
    return made.card, made.warnings


def export_link(page: Page, name: str, folder: Path) -> str:
    """Write a voice's zip into a person's folder and return the link to it."""
    path = export_voice(name, folder / f"{name}.zip", page.workspace)
    words = html.escape(path.name)
    address = file_address(path)
    return f'<a class="rvc-download" href="{address}" download="{words}">⬇ {words}</a>'


def merge(page: Page, names: tuple[str, str], share: float, new_name: str) -> tuple[str, ...]:
    """Blend two voices into a new one; returns what a person should know of it."""
    first, second = (page.voice(name) for name in names)
    return blend_voices(first, second, new_name, share, page.workspace).warnings


def repair(page: Page, checkpoint: Path | None, new_name: str) -> tuple[VoiceCard, tuple[str, ...]]:
    """Make a voice of a G_ checkpoint."""
    if checkpoint is None or not checkpoint.is_file():
        raise VoiceError("No checkpoint was given.", "Drop a G_ file of a training run.")
    made = import_voice(str(checkpoint), page.workspace, new_name.strip() or None)
    return made.card, made.warnings


def rebuild_index(page: Page, name: str) -> tuple[str, ...]:
    """Build a voice's index again from what its training run extracted."""
    from rvc_colab.training import recipe
    from rvc_colab.training.preprocess import dataset_path, read_dataset

    dataset = read_dataset(dataset_path(name, page.workspace))
    version = show_voice(name, page.workspace).version
    config = TrainingConfig(
        sample_rate=dataset.sample_rate,
        slice_seconds=dataset.slice_seconds,
        version=Version(version),
    )
    return tuple(recipe.index(name, config, page.workspace).warnings)
