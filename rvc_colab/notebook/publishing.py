"""Publish files to a slow, forgetful drive so that the last whole generation is always there.

Each generation has a name of its own and is never written again: the bytes go to `NAME.partial`,
are read back and compared (size and sha256), renamed, and only then the manifest appears,
by a rename too. A generation counts when its manifest is there and its file agrees with it.

    my_voice.000012.tar                 the bytes (a folder travels as one tar)
    my_voice.000012.tar.manifest.json   {"name", "number", "file", "size", "sha256", "created", …}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tarfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rvc_colab.errors import NotebookError
from rvc_colab.workspace import safe_name, sync_file, sync_folder

KEEP = 3
BLOCK = 1 << 20
PARTIAL, MANIFEST = ".partial", ".manifest.json"
STALE_SECONDS = 24 * 3600.0  # an unfinished file of another machine is left alone for so long

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generation:
    """One published, whole generation of `name`. `size` in bytes, `created` in Unix seconds."""

    name: str
    number: int
    file: str
    size: int
    sha256: str
    created: float
    is_folder: bool = False
    folder: str = ""  # where it lies; not part of the manifest

    @property
    def path(self) -> Path:
        """The published file."""
        return Path(self.folder) / self.file

    def whole(self, read: bool = True) -> bool:
        """Tell whether the file agrees with its manifest: the size, and with `read` the hash."""
        try:
            if self.path.stat().st_size != self.size:
                return False
            return not read or _sha256(self.path) == self.sha256
        except OSError:
            return False


def publish(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    name: str | None = None,
    keep: int = KEEP,
) -> Generation:
    """Publish a file or folder as the next generation of `name` in `folder`, and keep the last N.

    Returns the generation once it has been read back and verified. Raises NotebookError when the
    copy differs from its source; OSError as the drive raises it (`drive.explain` puts it in words).
    Older generations are deleted only after that.
    """
    origin, target = Path(source), Path(folder)
    if not origin.exists():
        raise NotebookError(f"There is nothing to publish at {origin}.", "Check the path.")
    name = safe_name(name or origin.name.removesuffix(origin.suffix if origin.is_file() else ""))
    target.mkdir(parents=True, exist_ok=True)
    number = 1 + max(_numbers(target, name), default=0)
    suffix = ".tar" if origin.is_dir() else _plain_suffix(origin)
    file = f"{name}.{number:06}{suffix}"
    partial = target / f"{file}.{os.getpid()}{PARTIAL}"
    try:
        size, sha256 = _pack(origin, partial) if origin.is_dir() else _copy(origin, partial)
        _verify(partial, size, sha256)
        os.replace(partial, target / file)
        sync_folder(target)
        generation = Generation(
            name, number, file, size, sha256, time.time(), origin.is_dir(), str(target)
        )
        _write_manifest(generation)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    _prune(target, name, keep)
    return generation


def generations(folder: str | os.PathLike[str], name: str | None = None) -> list[Generation]:
    """List what the manifests in `folder` speak of, oldest first. Files are not looked at."""
    found = []
    for path in sorted(Path(folder).glob(f"*{MANIFEST}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            generation = replace(Generation(**content), folder=str(path.parent))
        except (OSError, ValueError, TypeError):
            _log.warning(
                "The manifest %s cannot be read; its generation is passed over.", path.name
            )
            continue
        if name in (None, generation.name):
            found.append(generation)
    return sorted(found, key=lambda generation: (generation.name, generation.number))


def latest(
    folder: str | os.PathLike[str], name: str | None = None, read: bool = True
) -> Generation | None:
    """Return the newest whole generation (of `name`, else of any), None when there is none.

    Damaged generations are passed over with a warning. With `read` the bytes are hashed, else only
    the size is compared.
    """
    found = generations(folder, name)
    # Numbers order one name's generations, clocks (of several machines) only different names.
    found.sort(key=lambda g: (0.0 if name else g.created, g.number), reverse=True)
    for generation in found:
        if generation.whole(read):
            return generation
        _log.warning("%s is damaged; an older generation is taken.", generation.path)
    return None


def restore(generation: Generation, target: str | os.PathLike[str]) -> Path:
    """Bring a generation back as `target` (a file, or the folder that was published).

    What stands at `target` is kept beside it under `NAME.before-N`. Raises NotebookError when the
    published bytes are damaged.
    """
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        size, sha256 = _copy(generation.path, scratch)
        if (size, sha256) != (generation.size, generation.sha256):
            raise NotebookError(
                f"{generation.path} is damaged: {size} of {generation.size} bytes, or changed.",
                "Take an older generation.",
            )
        if generation.is_folder:
            scratch = _unpacked(scratch)
        if path.exists():
            path.rename(free_name(path, "before"))
        scratch.rename(path)
        sync_folder(path.parent)
    finally:
        _remove(scratch)
    return path


def copy_verified(source: Path, target: Path) -> str:
    """Copy one file through a temporary name, read it back, and return its sha256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    try:
        size, sha256 = _copy(source, partial)
        _verify(partial, size, sha256)
        os.replace(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    return sha256


def same_bytes(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same bytes."""
    return first.stat().st_size == second.stat().st_size and _sha256(first) == _sha256(second)


def free_name(path: Path, word: str) -> Path:
    """Return a name beside `path` that nobody has: `stem.word-N.suffix`."""
    number = 1
    while True:
        candidate = path.with_name(f"{path.stem}.{word}-{number}{path.suffix}")
        if not candidate.exists() and not candidate.is_symlink():
            return candidate
        number += 1


def _copy(source: Path, target: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(BLOCK):
            digest.update(block)
            size += len(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


def _pack(source: Path, target: Path) -> tuple[int, str]:
    """Write a folder as one tar (regular files, folders and links inside it), uncompressed."""
    with tarfile.open(target, "w") as tar:
        for path in sorted(source.rglob("*")):
            if path.name.endswith(PARTIAL) or not (path.is_file() or path.is_dir()):
                continue
            tar.add(path.resolve(), str(path.relative_to(source)), recursive=False)
    sync_file(target)
    return target.stat().st_size, _sha256(target)


def _verify(path: Path, size: int, sha256: str) -> None:
    found = path.stat().st_size
    if found != size or _sha256(path) != sha256:
        raise NotebookError(
            f"{path.name} came back as {found} bytes instead of {size}, or changed.",
            "Run this again; the earlier generation is untouched.",
        )


def _unpacked(archive: Path) -> Path:
    """Unpack a tar of ours beside itself, refusing names that lead outside."""
    folder = archive.with_name(f"{archive.name}.d")
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
                if not inside or not (member.isfile() or member.isdir()):
                    raise NotebookError(
                        f"The archive holds {member.name!r}, which leads outside.", "Do not use it."
                    )
                # Old minor versions know no filter; the check above is the stronger one.
                tar.extract(member, folder, set_attrs=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        archive.unlink(missing_ok=True)
        raise
    archive.unlink()
    return folder


def _write_manifest(generation: Generation) -> None:
    content = {key: value for key, value in asdict(generation).items() if key != "folder"}
    path = generation.path.with_name(generation.file + MANIFEST)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("w", encoding="utf-8") as handle:
            json.dump(content, handle, indent=1)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _numbers(folder: Path, name: str) -> list[int]:
    """Return every generation number in use, whole or not, so that none is used twice."""
    pattern = _pattern(name)
    return [int(found[1]) for entry in os.listdir(folder) if (found := pattern.match(entry))]


def _pattern(name: str) -> re.Pattern[str]:
    """Match this name's files, manifests and unfinished files, and no other name's."""
    end = rf"(?:{re.escape(MANIFEST)})?(?:\.\d+{re.escape(PARTIAL)})?$"
    return re.compile(rf"{re.escape(name)}\.(\d{{6,}})(?:\.[A-Za-z]\w*)?{end}")


def _plain_suffix(path: Path) -> str:
    return path.suffix if re.fullmatch(r"\.[A-Za-z]\w*", path.suffix) else ""


def _prune(folder: Path, name: str, keep: int) -> None:
    """Delete what is older than the last `keep` generations, and what was never finished."""
    listed = [g for g in generations(folder, name) if g.whole(read=False)]
    kept = listed[-max(1, keep) :]
    if not kept:
        return
    pattern = _pattern(name)
    entries = [(path, found) for path in folder.iterdir() if (found := pattern.match(path.name))]
    # Manifests go first: a file without one is only litter, one without its file a false promise.
    entries.sort(key=lambda entry: not entry[0].name.endswith(MANIFEST))
    for path, found in entries:
        unfinished = path.name.endswith(PARTIAL)
        if _stale(path) if unfinished else int(found[1]) < kept[0].number:
            with contextlib.suppress(OSError):  # litter that cannot be deleted harms nobody
                path.unlink()


def _stale(path: Path) -> bool:
    """Tell whether nobody writes this unfinished file: its process is gone, or it is a day old."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            return True
    pid = path.name.removesuffix(PARTIAL).rpartition(".")[2]
    return pid.isdigit() and int(pid) != os.getpid() and not Path(f"/proc/{pid}").exists()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as reader:
        while block := reader.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
