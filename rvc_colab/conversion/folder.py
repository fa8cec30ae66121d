"""Which files of a folder are converted, and what each result is called."""

from __future__ import annotations

import os
from pathlib import Path

from rvc_colab.audio.files import WRITABLE_FORMATS, check_source, check_target
from rvc_colab.errors import AudioError
from rvc_colab.progress import Progress

# What libsndfile reads, then what PyAV or ffmpeg may.
SOUND_SUFFIXES = frozenset(
    (".wav", ".w64", ".rf64", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".aifc")
    + (".au", ".caf", ".m4a", ".m4b", ".aac", ".mp4", ".mov", ".webm", ".weba", ".wma", ".mka")
    + (".mkv", ".amr", ".ac3", ".3gp")
)


def settle_paths(
    source: str | os.PathLike[str], target: str | os.PathLike[str], format: str | None = None
) -> tuple[Path, Path]:
    """Check source and target before the seconds that loading a voice takes; return both.

    As with `cp`, the result of a file goes into `target` under the source's name when that is a
    folder or ends in a slash; `format` (wav) is the results' then. Raises AudioError.
    """
    for text, what in ((source, "INPUT"), (target, "OUTPUT")):
        if not os.fspath(text).strip():
            raise AudioError(f"{what} is empty.", "Name a sound file, or a folder of them.")
    inside = os.path.isdir(os.path.expanduser(target)) or os.fspath(target).endswith(("/", os.sep))
    origin, goal = _expanded(source), _expanded(target)
    if os.path.isdir(origin):
        plan_folder(origin, goal, format or "wav")
        return origin, goal
    check_source(origin)
    if inside:
        goal /= f"{origin.stem}.{(format or 'wav').lower().removeprefix('.')}"
    check_target(goal)
    return origin, goal


def _expanded(text: str | os.PathLike[str]) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~ of nobody: it is a name like any other
        return Path(text)


def plan_folder(source: Path, target: Path, format: str) -> tuple[list[tuple[Path, Path]], int]:
    """Pair every sound file under `source` with its result under `target`, in name order.

    Returns the pairs and how many other files were left out. `song.wav` and `song.mp3` become
    `song.wav` and `song_mp3.wav`. Hidden files and what lies in `target` are not looked at. Raises
    AudioError when there is nothing to convert or the results would replace the sources.
    """
    suffix = "." + format.lower().removeprefix(".")
    if suffix[1:] not in WRITABLE_FORMATS:
        check_target(Path(f"result{suffix}"))
    if not source.is_dir():
        raise AudioError(f"{source} is not a folder.", "Name a folder of sound files.")
    if target.exists() and not target.is_dir():
        raise AudioError(f"{target} is a file.", "Name a folder for the results.")
    if target.resolve() == source.resolve():
        raise AudioError(
            f"{target} is the folder of the sources.", "Name another folder for the results."
        )
    sounds, others = _listed(source, target)
    if not sounds:
        raise AudioError(
            f"{source} holds no sound files ({others} others).",
            "Put wav, flac, mp3 or ogg files there.",
        )
    # Files that already have the wanted format keep their plain name.
    by_claim = sorted(sounds, key=lambda path: (path.suffix.lower() != suffix, str(path)))
    taken: set[str] = set()
    names = {file: _name(file.relative_to(source), suffix, taken) for file in by_claim}
    return [(file, target / names[file]) for file in sounds], others


def _listed(source: Path, target: Path) -> tuple[list[Path], int]:
    results = target.resolve()
    sounds, others = [], 0
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        if path.resolve().is_relative_to(results):
            continue
        if path.suffix.lower() in SOUND_SUFFIXES:
            sounds.append(path)
        else:
            others += 1
    return sounds, others


def _name(inside: Path, suffix: str, taken: set[str]) -> Path:
    """Name a result so that no two collide, also where upper and lower case are the same."""
    kind = inside.suffix.lower().removeprefix(".")
    stems = [inside.stem, f"{inside.stem}_{kind}"]
    number = 2
    while True:
        stem = stems.pop(0) if stems else f"{inside.stem}_{kind}_{number}"
        number += not stems
        name = inside.with_name(stem + suffix)
        if str(name).casefold() not in taken:
            taken.add(str(name).casefold())
            return name


class NamedProgress:
    """Pass progress on under the name of the file it belongs to."""

    def __init__(self, inner: Progress, name: str) -> None:
        self._inner, self._name = inner, name

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage of this file."""
        self._inner.stage(f"{name} {self._name}", total)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units."""
        self._inner.advance(units, note)

    def check(self) -> None:
        """Raise `Cancelled` when a stop was asked for."""
        self._inner.check()

    @property
    def cancelled(self) -> bool:
        """Tell whether a stop was asked for."""
        return self._inner.cancelled
