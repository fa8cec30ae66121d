"""The voices of a workspace: list, show, find, remove and restore, rename; their indexes.

A voice is `weights/NAME.pth`, its index a file of `indexes/` named by either habit, its card an
optional `weights/NAME.json`. `demo` is the voice inside the package.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rvc_colab.errors import AssetError, ConfigError, VoiceError
from rvc_colab.features.faiss_files import parse_index_name
from rvc_colab.store.assets import DEMO_INDEX, DEMO_VOICE, bundled
from rvc_colab.workspace import Workspace, safe_name, write_atomically

DEMO = "demo"
_MANIFEST = "removed.json"
# What training programs append to the voice's name: name_e20_s1000, name_20e_1000s(_best_epoch).
_STEP_SUFFIX = re.compile(r"(_e\d+(_s\d+)?|_\d+e_\d+s)(_best_epoch)?$")


@dataclass(frozen=True)
class VoiceCard:
    """What a person wants to know of a voice; `problem` says why a file cannot be used.

    `encoder` is None where the file does not say; `size` in bytes; `sample_rate` in Hz.
    """

    name: str
    path: Path
    version: str = ""
    sample_rate: int = 0
    has_f0: bool = True
    speakers: int = 0
    encoder: str | None = None
    epoch: int | None = None
    step: int | None = None
    size: int = 0
    index: Path | None = None
    info: str | None = None
    dialect: str = ""
    warnings: tuple[str, ...] = ()
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """Return the card as plain values, for JSON."""
        plain = asdict(self)
        plain["path"], plain["warnings"] = str(self.path), list(self.warnings)
        plain["index"] = str(self.index) if self.index else None
        return plain

    @property
    def summary(self) -> str:
        """Say in one line what the voice is."""
        if self.problem:
            return f"{self.name}: {self.problem}"
        parts = [
            self.version,
            f"{self.sample_rate / 1000:g} kHz",
            "pitch" if self.has_f0 else "no pitch",
        ]
        parts.append(f"encoder {self.encoder or 'not said'}")
        parts += [f"epoch {self.epoch}"] if self.epoch is not None else []
        parts += [f"{self.speakers} speakers"] if self.speakers > 1 else []
        parts += [f"{self.size / 1e6:.1f} MB", "with index" if self.index else "no index"]
        return f"{self.name}: " + ", ".join(parts)


def voice_name(text: str) -> str:
    """Check that `text` can name a voice on every file system; raises VoiceError otherwise."""
    try:
        return safe_name(text)
    except ConfigError as error:
        raise VoiceError(error.message, error.hint) from error


def list_voices(workspace: Workspace) -> list[VoiceCard]:
    """Describe every voice of the workspace and `demo`; files that are none carry a problem."""
    paths = sorted(_files(workspace.weights, ".pth"), key=lambda path: path.name.lower())
    cards = [_card_or_problem(path, workspace) for path in paths]
    demo = _bundled(DEMO_VOICE)
    return ([_card_or_problem(demo, workspace)] if demo else []) + cards


def show_voice(name_or_path: str | os.PathLike[str], workspace: Workspace) -> VoiceCard:
    """Describe one voice by name or path. Raises VoiceError when it is none or not found."""
    return card_of(find_voice(name_or_path, workspace), workspace)


def find_voice(name_or_path: str | os.PathLike[str], workspace: Workspace) -> Path:
    """Find a voice file by name in the workspace, or by path (a file, a folder with one `.pth`).

    `demo` is the embedded voice. Raises VoiceError naming the closest voices there are.
    """
    text = os.fspath(name_or_path).strip()
    if text.lower() == DEMO:
        return _demo_voice()
    stem = text.removesuffix(".pth")
    if stem and not re.search(r"[/\\]", stem):
        for path in _files(workspace.weights, ".pth"):
            if path.stem == stem:
                return path
    if given := given_path(text):
        return _only_voice(given) if given.is_dir() else given
    names = [path.stem for path in _files(workspace.weights, ".pth")]
    near = difflib.get_close_matches(Path(stem).name, names, n=3, cutoff=0.5) or sorted(names)[:5]
    raise VoiceError(
        f"There is no voice {text!r} in {workspace.weights} and no such file.",
        f"There are {', '.join([*near, DEMO])}; see rvc-colab voices list.",
    )


def find_index(
    voice: str | os.PathLike[str], indexes_dir: Path | None = None, version: str = ""
) -> Path | None:
    """Find the index of a voice (name or path) beside it and in `indexes_dir`, by both habits.

    Where several fit, the one whose name says `version` comes first, then the newest. An index
    alone in the own folder of a single voice is taken whatever its name. None if there is none.
    """
    if os.fspath(voice).lower() == DEMO:
        return _bundled(DEMO_INDEX)
    path = Path(voice)
    if path == _bundled(DEMO_VOICE):
        return _bundled(DEMO_INDEX)
    beside = path.parent if given_path(os.fspath(voice)) and path.is_file() else None
    stem = path.name.removesuffix(".pth")
    folders = [folder for folder in (beside, indexes_dir) if folder is not None]
    found = [file for folder in folders for file in _indexes_in(folder, stem)]
    for wanted in dict.fromkeys((stem, _STEP_SUFFIX.sub("", stem))):
        fitting = [file for file in found if _belongs(file, wanted)]
        if fitting:
            return max(
                fitting,
                key=lambda file: (parse_index_name(file).version == version, file.stat().st_mtime),
            )
    if beside and beside != indexes_dir and len(_files(beside, ".pth")) == 1:
        alone = [file for file in found if file.parent == beside]
        return alone[0] if len(alone) == 1 else None
    return None


def card_of(path: Path, workspace: Workspace) -> VoiceCard:
    """Describe a voice file without loading its tensors. Raises VoiceError when it is none."""
    from rvc_colab.store.checkpoint import describe_voice

    voice = describe_voice(path)
    told, demo = voice.metadata, path == _bundled(DEMO_VOICE)
    return VoiceCard(
        name=DEMO if demo else path.stem,
        path=path,
        version=voice.config.version,
        sample_rate=voice.config.sample_rate,
        has_f0=voice.config.has_f0,
        speakers=voice.config.speakers,
        encoder=told.encoder,
        epoch=told.epoch,
        step=told.step,
        size=path.stat().st_size,
        index=find_index(path, workspace.indexes, voice.config.version),
        info=told.info,
        dialect=voice.dialect,
        warnings=voice.warnings,
    )


def remove_voice(name: str, workspace: Workspace) -> Path:
    """Move a voice, its card and its index to the workspace's trash; return the folder there."""
    path = _own_voice(name, workspace)
    files = _files_of(path, workspace)
    folder = _free_folder(workspace.root / "trash", path.stem)
    folder.mkdir(parents=True)
    names = _distinct([file.name for file in files])
    manifest = {
        name: str(file.relative_to(workspace.root)) for name, file in zip(names, files, strict=True)
    }
    with write_atomically(folder / _MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
    for name, file in zip(names, files, strict=True):
        shutil.move(file, folder / name)
    return folder


def restore_voice(name: str, workspace: Workspace) -> Path:
    """Bring the voice removed last under this name back from the trash; return its path."""
    name = voice_name(name)
    kept = [folder for folder in _numbered(workspace.root / "trash", name) if folder.is_dir()]
    if not kept:
        raise VoiceError(
            f"The trash {workspace.root / 'trash'} holds no voice {name!r}.",
            "Look into the folder itself.",
        )
    folder = kept[-1]
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        moves = {folder / file: _inside(workspace.root, place) for file, place in manifest.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise VoiceError(
            f"{folder / _MANIFEST} is damaged.", "Move the files back by hand."
        ) from error
    moves = {source: target for source, target in moves.items() if source.is_file()}
    _refuse_existing(moves.values())
    for source, target in moves.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    shutil.rmtree(folder)
    return workspace.weights / f"{name}.pth"


def rename_voice(name: str, new_name: str, workspace: Workspace) -> Path:
    """Give a voice, its card and its index another name; return the new path."""
    path, new = _own_voice(name, workspace), voice_name(new_name)
    files = _files_of(path, workspace)
    names = _distinct([_renamed(file, new) for file in files])
    moves = {file: file.with_name(name) for file, name in zip(files, names, strict=True)}
    _refuse_existing(target for source, target in moves.items() if not _same_file(source, target))
    for source, target in moves.items():
        os.replace(source, target)
    return path.with_name(f"{new}.pth")


def _renamed(file: Path, new: str) -> str:
    told = parse_index_name(file)
    if file.suffix == ".index" and told.lists:
        ending = f"_{told.version}" if told.version else ""
        return f"added_IVF{told.lists}_Flat_nprobe_1_{new}{ending}.index"
    return new + file.suffix


def _distinct(names: list[str]) -> list[str]:
    """Put a number before names that occur already."""
    found: list[str] = []
    for name in names:
        found.append(name if name not in found else f"{len(found)}_{name}")
    return found


def given_path(text: str) -> Path | None:
    """Return the file or folder that `text` names, None if there is none, whatever the text."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, ~nobody, a null character
        return None


def move_aside(name: str, workspace: Workspace) -> None:
    """Move a voice to the trash if it exists: what `replace` means everywhere."""
    if (workspace.weights / f"{name}.pth").exists():
        remove_voice(name, workspace)


def _card_or_problem(path: Path, workspace: Workspace) -> VoiceCard:
    try:
        return card_of(path, workspace)
    except VoiceError as error:
        return VoiceCard(path.stem, path, size=path.stat().st_size, problem=error.message)


def _own_voice(name: str, workspace: Workspace) -> Path:
    """Return a voice of the workspace, for verbs that change it."""
    if name.strip().lower().removesuffix(".pth") == DEMO:
        raise VoiceError(
            "The voice demo is part of the package.", "Import it under another name first."
        )
    path = find_voice(name, workspace)
    if path.parent.resolve() != workspace.weights.resolve():
        raise VoiceError(
            f"{path} lies outside the workspace {workspace.root}.", "Name a voice of the workspace."
        )
    return path


def _files_of(path: Path, workspace: Workspace) -> list[Path]:
    """Return a voice with what belongs to it alone: its card and its index."""
    card = path.with_suffix(".json")
    indexes = [
        file for file in _indexes_in(workspace.indexes, path.stem) if _belongs(file, path.stem)
    ]
    return [path, *([card] if card.is_file() else []), *indexes]


def _indexes_in(folder: Path, stem: str) -> list[Path]:
    """List usable index files of a folder and of its sub-folder named after the voice."""
    found = _files(folder, ".index")
    if (folder / stem).is_dir():
        found += _files(folder / stem, ".index")
    return [file for file in found if parse_index_name(file).kind == "added"]


def _belongs(index: Path, voice: str) -> bool:
    return parse_index_name(index).name.casefold() == voice.casefold()


def _only_voice(folder: Path) -> Path:
    found = _files(folder, ".pth")
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise VoiceError(
            f"The folder {folder} holds {len(found)} voices ({names}).", "Give the file itself."
        )
    return found[0]


def _files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == suffix and path.is_file() and not path.name.startswith(".")
    )


def _bundled(filename: str) -> Path | None:
    try:
        return bundled(filename)
    except AssetError:
        return None


def _demo_voice() -> Path:
    try:
        return bundled(DEMO_VOICE)
    except AssetError as error:
        raise VoiceError(error.message, error.hint) from error


def _refuse_existing(targets: Iterable[Path]) -> None:
    for target in targets:
        if target.exists():
            raise VoiceError(
                f"{target} exists already.", "Rename or remove it first; nothing is overwritten."
            )


def _same_file(source: Path, target: Path) -> bool:
    """Tell whether two names mean one file, as on disks that ignore case."""
    return target.exists() and source.samefile(target)


def _numbered(folder: Path, name: str) -> Iterator[Path]:
    """Yield folder/NAME, folder/NAME~2, … as long as they exist."""
    number, path = 1, folder / name
    while path.exists():
        yield path
        number += 1
        path = folder / f"{name}~{number}"


def _free_folder(folder: Path, name: str) -> Path:
    taken = sum(1 for _ in _numbered(folder, name))
    return folder / (f"{name}~{taken + 1}" if taken else name)


def _inside(root: Path, place: str) -> Path:
    target = (root / place).resolve()
    if not target.is_relative_to(root.resolve()):
        raise ValueError(place)
    return target
