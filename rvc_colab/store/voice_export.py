"""Take a voice out of the workspace: as one zip, or as a folder that RVC-WebUI and Applio read."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

from rvc_colab.errors import IndexFileError, VoiceError
from rvc_colab.features.faiss_files import index_file_name, index_shape
from rvc_colab.store.voices import VoiceCard, show_voice
from rvc_colab.workspace import Workspace, write_atomically


def export_voice(
    name_or_path: str,
    target: str | os.PathLike[str],
    workspace: Workspace,
    *,
    replace: bool = False,
) -> Path:
    """Write a voice, its index and its card to `target`; return it.

    A target that ends in `.zip` becomes one archive with the index under RVC-WebUI's name. Any
    other is a folder, with the index under both habits of naming. Existing files are refused
    unless `replace`. Raises VoiceError.
    """
    if not os.fspath(target).strip():
        raise VoiceError("There is no name to write to.", "Name a file NAME.zip, or a folder.")
    card = show_voice(name_or_path, workspace)
    goal = Path(target).expanduser()
    try:
        if goal.suffix.lower() == ".zip":
            _refuse(goal, replace)
            with write_atomically(goal) as temporary:
                _write_zip(temporary, card)
        else:
            _write_folder(goal, card, replace)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise VoiceError(
            f"{goal} cannot be written: {getattr(error, 'strerror', None) or error}.",
            "Check the folder and the free space.",
        ) from error
    return goal


def _write_zip(path: Path, card: VoiceCard) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # fp16 weights do not shrink
        archive.write(card.path, f"{card.name}.pth")
        for name in _index_names(card)[:1]:
            archive.write(card.index or "", name)
        archive.writestr("card.json", _card_text(card))


def _write_folder(folder: Path, card: VoiceCard, replace: bool) -> None:
    copies = {folder / f"{card.name}.pth": card.path}
    if card.index:
        copies |= {folder / name: card.index for name in _index_names(card)}
    for target in copies:
        _refuse(target, replace)
    for target, source in copies.items():
        with write_atomically(target) as temporary:
            shutil.copyfile(source, temporary)
    with write_atomically(folder / f"{card.name}.json") as temporary:
        temporary.write_text(_card_text(card), encoding="utf-8")


def _index_names(card: VoiceCard) -> list[str]:
    """Return the names of the index by RVC-WebUI's and by Applio's habit; none without an index."""
    if card.index is None:
        return []
    try:
        rows, _ = index_shape(card.index)
    except IndexFileError as error:
        raise VoiceError(
            f"The index of {card.name} cannot be exported. {error.message}", error.hint
        ) from error
    return [index_file_name(card.name, card.version, rows, habit) for habit in ("webui", "applio")]


def _card_text(card: VoiceCard) -> str:
    told = {
        key: value
        for key, value in card.record().items()
        if key not in {"path", "index", "problem"}
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _refuse(target: Path, replace: bool) -> None:
    if target.exists() and not replace:
        raise VoiceError(
            f"{target} exists already.", "Choose another name; nothing is overwritten."
        )
