"""Bring a voice into the workspace: from a file, zip, folder, URL, Drive link or Hub repository.

Everything is gathered in a folder of its own, looked at there, and only what is a whole voice
(and an index that fits it) moves under its final name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from rvc_colab.errors import AssetError, ConfigError, IndexFileError, VoiceError
from rvc_colab.features.faiss_files import parse_index_name
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.store.downloads import (
    Expected,
    download,
    drive_file,
    drive_id,
    free_bytes,
    hub_file,
    hub_listing,
    url_file_name,
)
from rvc_colab.store.voices import (
    VoiceCard,
    card_of,
    find_index,
    given_path,
    move_aside,
    voice_name,
)
from rvc_colab.workspace import Workspace, safe_name, write_atomically

if TYPE_CHECKING:
    from rvc_colab.store.voice import Voice

MAX_ENTRIES = 2000
MAX_BYTES = 4 << 30  # of a voice with its index, unpacked
MAX_RATIO = 100  # unpacked to packed; weights barely shrink, bombs shrink a thousandfold
_WANTED = {".pth", ".index"}
_BLOCK = 1 << 20
_FOLDER_DEPTH = 3


@dataclass(frozen=True)
class ImportedVoice:
    """The voice as it stands in the workspace now, and what was left out, in words."""

    card: VoiceCard
    warnings: tuple[str, ...] = ()


def import_voice(
    source: str,
    workspace: Workspace,
    name: str | None = None,
    *,
    replace: bool = False,
    progress: Progress | None = None,
    public: bool = False,
) -> ImportedVoice:
    """Import a voice and its index under `name`, or the file's own name when none is given.

    `source`: a `.pth`, a zip, a folder, an http address, a Google Drive link, `owner/repo` or
    `owner/repo/file` of the Hugging Face hub; of a G_ checkpoint a voice is made. An existing
    voice is refused, or moved to the trash with `replace`. `public`: a stranger names the source,
    so an address must not lead to this machine or its network. Raises VoiceError, or AssetError
    when a download fails.
    """
    if name is not None:
        name = voice_name(name)
    with _staging(workspace) as staging:
        expected = Expected(maximum_bytes=MAX_BYTES, public=public)
        files = _gather(source.strip(), staging, expected, progress or SilentProgress())
        voice = _choose_voice(files, source, workspace)
        index = _choose_index(files, voice)
        name = name or _own_name(voice.stem)
        target = workspace.weights / f"{name}.pth"
        if target.exists() and not replace:
            raise VoiceError(
                f"There is a voice {name} already ({target}).",
                "Give another --name, or remove it first.",
            )
        checked = _checked(voice)
        warnings = list(checked.warnings)
        index = _fitting_index(index, checked.config.content_channels, warnings)
        if target.exists():
            move_aside(name, workspace)
        if index is not None:
            _copy(index, workspace.indexes / f"{name}.index")
        _put(voice, checked, target)
    return ImportedVoice(card_of(target, workspace), tuple(warnings))


@contextlib.contextmanager
def _staging(workspace: Workspace) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="import-", dir=workspace.cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _gather(source: str, staging: Path, expected: Expected, progress: Progress) -> list[Path]:
    """Bring the candidates, `.pth` and `.index` files, to this machine."""
    if path := given_path(source):
        if path.is_dir():
            return _in_folder(path)
        beside = find_index(path) if path.suffix.lower() == ".pth" else None
        return _unpacked(path, staging) + ([beside] if beside else [])
    if source.startswith(("http://", "https://")):
        return _from_address(source, staging, expected, progress)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(/[^\\]+)?", source) and ".." not in source:
        owner, repo, *rest = source.split("/", 2)
        return _from_hub(f"{owner}/{repo}", rest[0] if rest else "", staging)
    raise VoiceError(
        f"There is nothing to import at {source!r}.",
        "Give a .pth, a zip, a folder, a web address or owner/repo of the Hugging Face hub.",
    )


def _in_folder(folder: Path) -> list[Path]:
    found = []
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number > MAX_ENTRIES:
            raise VoiceError(
                f"{folder} holds more than {MAX_ENTRIES} files.", "Give the .pth itself."
            )
        deep = len(path.relative_to(folder).parts) > _FOLDER_DEPTH
        if not deep and path.suffix.lower() in _WANTED and path.is_file():
            found.append(path)
    return found


def _from_address(url: str, staging: Path, expected: Expected, progress: Progress) -> list[Path]:
    address = urlparse(url)
    if address.hostname in {"huggingface.co", "www.huggingface.co", "hf.co"}:
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        if len(parts) == 2 or (len(parts) == 4 and parts[2] == "tree"):
            return _from_hub("/".join(parts[:2]), "", staging)
        if len(parts) > 4 and parts[2] in {"resolve", "blob"} and parts[3] == "main":
            return _from_hub("/".join(parts[:2]), "/".join(parts[4:]), staging)
    if file_id := drive_id(url):
        return _unpacked(drive_file(file_id, staging), staging)
    target = staging / _plain_name(url_file_name(url, "voice.pth"))
    try:
        arrived = download(url, target, expected, progress)
    except AssetError as error:
        if str(staging) in error.hint:  # a folder that is gone by now
            hint = "Check the network and try again, or save the file yourself and import that."
            raise AssetError(error.message, hint) from error
        raise
    return _unpacked(arrived, staging)


def _from_hub(repo: str, filename: str, staging: Path) -> list[Path]:
    names = (
        [filename]
        if filename
        else [n for n in hub_listing(repo) if Path(n).suffix.lower() in _WANTED]
    )
    if not names:
        names = [name for name in hub_listing(repo) if name.lower().endswith(".zip")]
    voices = [name for name in names if not name.lower().endswith(".index")]
    if len(voices) != 1:
        some = ", ".join(voices[:5]) or "none"
        raise VoiceError(
            f"{repo} on the Hugging Face hub holds {len(voices)} voices ({some}).",
            f"Give one of them: {repo}/FILE.",
        )
    found: list[Path] = []
    for name in names:
        found += _unpacked(hub_file(repo, name, staging), staging)
    return found


def _unpacked(path: Path, staging: Path) -> list[Path]:
    """Return the candidates inside a zip, or the file itself (a torch file is a zip, too)."""
    if not zipfile.is_zipfile(path):
        return [path]
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/data.pkl") for entry in entries):
                return [path]
            return _extract(archive, entries, path.name, staging)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ) as error:
        reason = "it asks for a password" if "password" in str(error) else str(error)
        raise VoiceError(
            f"{path.name} cannot be unpacked: {reason}.", "Unpack it yourself."
        ) from error


def _extract(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], name: str, staging: Path
) -> list[Path]:
    """Unpack voices and indexes flat into folders of their own; refuse slips and bombs."""
    if len(entries) > MAX_ENTRIES:
        raise VoiceError(f"{name} holds {len(entries)} files; at most {MAX_ENTRIES} are looked at.")
    wanted = []
    for entry in entries:
        place = PurePosixPath(entry.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", entry.filename):
            raise VoiceError(
                f"{name} has an entry that leaves its folder: {entry.filename!r}.",
                "Do not trust it.",
            )
        if place.suffix.lower() in _WANTED and "__MACOSX" not in place.parts and not entry.is_dir():
            wanted.append((entry, place.name))
    total = sum(entry.file_size for entry, _ in wanted)
    packed = sum(entry.compress_size for entry, _ in wanted)
    limit = min(MAX_BYTES, free_bytes(staging))
    if total > limit or total > MAX_RATIO * max(packed, 1):
        raise VoiceError(
            f"{name} unpacks to {total / 1e6:.0f} MB from {packed / 1e6:.1f} MB; at most "
            f"{limit / 1e6:.0f} MB and {MAX_RATIO} times its size are taken.",
            "Unpack it yourself and give the folder.",
        )
    found = []
    for number, (entry, filename) in enumerate(wanted):
        target = staging / str(number) / _plain_name(filename)
        target.parent.mkdir()
        _copy_entry(archive, entry, target)
        found.append(target)
    return found


def _copy_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one entry, never more than its header promised."""
    left = entry.file_size
    with archive.open(entry) as packed, target.open("wb") as plain:
        while block := packed.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise VoiceError(
                    f"The entry {entry.filename} is larger than it says.", "Do not trust it."
                )
            plain.write(block)


def _checked(voice: Path) -> Voice:
    """Read a voice with its tensors, so that a damaged one never gets a name; a G_ file as one."""
    from rvc_colab.store.checkpoint import is_generator_checkpoint, read_voice, voice_of_checkpoint

    if not is_generator_checkpoint(voice):
        return read_voice(voice)
    made = voice_of_checkpoint(voice)
    note = "It was made of a training checkpoint, which does not name the content encoder."
    return dataclasses.replace(made, warnings=(*made.warnings, note))


def _put(voice: Path, checked: Voice, target: Path) -> None:
    """Give a voice its place: a copy of its file and card, or what was made of a G_ file."""
    from rvc_colab.store.checkpoint import OF_CHECKPOINT, write_voice

    if checked.dialect != OF_CHECKPOINT:
        if voice.with_suffix(".json").is_file():
            _copy(voice.with_suffix(".json"), target.with_suffix(".json"))
        _copy(voice, target)
        return
    try:
        write_voice(target, checked.weights, checked.config, checked.metadata)
    except OSError as error:
        raise _unwritable(target, error) from error


def _choose_voice(files: list[Path], source: str, workspace: Workspace) -> Path:
    """Choose the one voice among the candidates; a G_ file only where there is no voice."""
    from rvc_colab.store.checkpoint import is_generator_checkpoint

    found, problems = [], []
    for path in files:
        if path.suffix.lower() == ".index":
            continue
        try:
            card_of(path, workspace)
            found.append(path)
        except VoiceError as error:
            problems.append(error)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found[:5])
        raise VoiceError(f"{source} holds {len(found)} voices: {names}.", "Import them one by one.")
    generators = [
        path for path in files if path.suffix != ".index" and is_generator_checkpoint(path)
    ]
    if len(generators) == 1:
        return generators[0]
    if problems:
        raise problems[0]
    raise VoiceError(
        f"{source} holds no voice (.pth).", "A voice comes as NAME.pth, often zipped with an index."
    )


def _choose_index(files: list[Path], voice: Path) -> Path | None:
    """Choose the voice's index: by its name, else the only one there is."""
    indexes = [path for path in files if path.suffix.lower() == ".index"]
    indexes = [path for path in indexes if parse_index_name(path).kind == "added"]
    named = [
        path for path in indexes if parse_index_name(path).name.casefold() == voice.stem.casefold()
    ]
    return next(iter(named or (indexes if len(indexes) == 1 else [])), None)


def _fitting_index(index: Path | None, channels: int, warnings: list[str]) -> Path | None:
    """Return the index if it is whole and fits the voice; else say why it was left out."""
    if index is None:
        return None
    from rvc_colab.features.retrieval import read_index

    try:
        warnings += read_index(index, channels).warnings
        return index
    except IndexFileError as error:
        warnings.append(f"The index was left out: {error.message}")
        return None


def _own_name(stem: str) -> str:
    """Make a usable name from a file's own: characters that are not allowed become `_`."""
    plain = re.sub(r"[^\w .\-]", "_", stem).strip(" .")
    while len(plain.encode()) > 100:
        plain = plain[:-1]
    try:
        return safe_name(plain)
    except ConfigError as error:
        raise VoiceError(
            f"The file's name {stem!r} cannot name a voice.", "Give one with --name."
        ) from error


def _plain_name(filename: str) -> str:
    """Make a name for a temporary file that every disk takes."""
    path = PurePosixPath(filename)
    stem = re.sub(r"[^\w .\-]", "_", path.stem)[:80].strip(" .") or "voice"
    return stem + path.suffix.lower()


def _copy(source: Path, target: Path) -> None:
    try:
        with write_atomically(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> VoiceError:
    return VoiceError(
        f"{target} cannot be written: {error.strerror or error}.",
        "Check the folder and the free space.",
    )
