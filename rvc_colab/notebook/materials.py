"""Find what a person means: recordings on this machine, the drive or a dataset; uploads; zips."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from rvc_colab.errors import AudioError, DatasetError, NotebookError
from rvc_colab.notebook.drive import Places
from rvc_colab.notebook.environment import COLAB, platform_name
from rvc_colab.workspace import write_atomically

MOST_UNPACKED = 30 << 30  # bytes
_BLOCK = 1 << 20


def find_sound(text: str, roots: Sequence[Path]) -> Path:
    """Return the file or folder that `text` names: a path, or a path or name inside `roots`.

    Raises AudioError that names the places looked at.
    """
    given = Path(text).expanduser()
    for candidate in (given, *(root / text for root in roots)):
        if candidate.exists():
            return candidate.absolute()
    for root in roots:
        for found in sorted(root.rglob(given.name)) if root.is_dir() else []:
            return found
    places = ", ".join(str(root) for root in (Path.cwd(), *roots))
    raise AudioError(
        f"There is no file or folder {text!r} in {places}.",
        "Upload it with the Files panel on the left (or tick upload), and give its name.",
    )


def upload(folder: Path) -> list[Path]:
    """Ask for files with the platform's upload dialog and return them as they lie in `folder`.

    Raises NotebookError where there is no dialog, or nothing was chosen.
    """
    if platform_name(os.environ) != COLAB:
        raise NotebookError(
            "Only Colab has an upload dialog for cells.",
            "Put the file beside the notebook (Kaggle: Add Input), untick upload, give its name.",
        )
    try:
        sent = importlib.import_module("google.colab.files").upload()
    except Exception as error:  # the frontend's refusals have classes of their own
        raise NotebookError(
            f"The upload did not work ({error}).", "Use the Files panel on the left instead."
        ) from error
    if not sent:
        raise NotebookError("No file was chosen.", "Run the cell again, or untick upload.")
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for name, data in sent.items():
        target = folder / Path(name).name
        with write_atomically(target) as temporary:
            temporary.write_bytes(data)
        kept.append(target)
    return kept


def recordings_folder(given: Path, scratch: Path) -> Path:
    """Return a folder to train on: the folder itself, one with the file, or an unpacked zip.

    Raises DatasetError for what is none of them.
    """
    if given.is_dir():
        return given
    if not zipfile.is_zipfile(given):
        folder = scratch / f"single-{_mark(given)}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / given.name
        if not target.exists():
            with write_atomically(target) as temporary:
                shutil.copyfile(given, temporary)
        return folder
    folder = scratch / f"{given.stem}-{_mark(given)}"
    if not folder.is_dir():
        _unpack(given, folder)
    return folder


def _mark(path: Path) -> str:
    """Name a file by its size and time, so that a changed one is unpacked again."""
    told = path.stat()
    text = f"{path.absolute()} {told.st_size} {told.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip of recordings beside its final name first, so that half of one is never used."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not m.is_dir()]
            if (total := sum(member.file_size for member in members)) > MOST_UNPACKED:
                raise DatasetError(
                    f"{archive.name} would unpack to {total / 1e9:.1f} GB; at most "
                    f"{MOST_UNPACKED / 1e9:.0f} GB are taken.",
                    "Split it.",
                )
            for member in members:
                target = partial / member.filename
                if not target.resolve().is_relative_to(partial.resolve()):
                    raise DatasetError(
                        f"{archive.name} holds {member.filename!r}, which leads outside.",
                        "Do not use it.",
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
        partial.rename(folder)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise DatasetError(
            f"The zip {archive.name} cannot be unpacked: {error}.", "Make or upload it again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def search_roots(workspace: Path, storage: Path, places: Places) -> list[Path]:
    """Return where names of recordings are looked for, the nearest first."""
    roots = [storage, workspace, places.kaggle_input]
    return list(dict.fromkeys(root for root in roots if root.is_dir()))


def sliced_clip(folder: Path, seconds: float = 2.5) -> list[Path]:
    """Write the shipped clip in parts cut at quiet points: small recordings to learn with."""
    from rvc_colab.audio.files import AudioWriter, read
    from rvc_colab.audio.slicing import quiet_point
    from rvc_colab.store.assets import DEMO_CLIP, bundled

    wave, rate = read(bundled(DEMO_CLIP))
    step, edges = int(seconds * rate), [0]
    while len(wave) - edges[-1] > 1.5 * step:
        first = edges[-1] + step
        edges.append(quiet_point(wave, rate, first - step // 2, first + step // 2))
    edges.append(len(wave))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (start, end) in enumerate(zip(edges, edges[1:]), start=1):
        paths.append(folder / f"phrase_{number}.wav")
        with AudioWriter(paths[-1], rate) as writer:
            writer.write(wave[start:end])
    return paths
