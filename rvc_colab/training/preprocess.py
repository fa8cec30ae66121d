"""Recordings → training pieces: filtered, cut at silences, levelled; nothing is dropped in silence.

The published recipe: causal 48 Hz high-pass, slicer, pieces of 3.7 s with 0.3 s overlap and every
tail kept, level 0.75 · (0.9 / peak) + 0.25. Each piece is kept at the voice's rate and, for content
and pitch, at 16 kHz.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rvc_colab.audio.files import read
from rvc_colab.audio.filters import highpass_causal, resample
from rvc_colab.audio.slicing import cut_pieces, find_slices, normalize_piece, why_unusable
from rvc_colab.config import CONTENT_RATE, TrainingConfig
from rvc_colab.errors import AudioError, DatasetError
from rvc_colab.profiling import stage
from rvc_colab.progress import Progress
from rvc_colab.training.working_set import WorkingSet, bounds_of, file_hash, joined, key_of
from rvc_colab.workspace import Workspace, is_text, write_atomically

_log = logging.getLogger(__name__)

RECIPE = 1  # raise it when the pieces of the same recording would come out differently
SOUND_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aac", "aif", "aiff", "aifc"),
        *("wma", "mp4", "mka", "webm", "au", "caf", "w64"),
    )
)


@dataclass(frozen=True)
class Dropped:
    """A stretch of a recording that is not trained on, in seconds, and why."""

    start: float
    end: float
    why: str


@dataclass(frozen=True)
class Recording:
    """A prepared recording: path inside the folder, contents, and name in the working set."""

    path: str
    sha256: str
    key: str
    seconds: float
    pieces: int
    piece_seconds: float
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """What a run trains on; written to its folder as `dataset.json`."""

    folder: str
    sample_rate: int
    slice_seconds: float
    recordings: tuple[Recording, ...]
    failed: dict[str, str] = field(default_factory=dict)  # path → why
    ignored: tuple[str, ...] = ()  # files that are no sound by their names
    changes: tuple[str, ...] = ()  # against what the run was trained on before, in words

    @property
    def fingerprint(self) -> str:
        """Name this choice of recordings and settings in 16 digits."""
        return key_of(keys=sorted(recording.key for recording in self.recordings))[:16]

    @property
    def seconds(self) -> float:
        """Return the length of all pieces together."""
        return sum(recording.piece_seconds for recording in self.recordings)

    def after(self, before: Dataset) -> Dataset:
        """Return the same with what changed against another one, told by contents, not by names."""
        new, old = ({r.sha256: r.path for r in each.recordings} for each in (self, before))
        changes = []
        for words, names in (
            ("came since the last sitting", [new[key] for key in new if key not in old]),
            ("of the last sitting are gone", [old[key] for key in old if key not in new]),
        ):
            if names:
                more = ", …" if len(names) > 3 else ""
                changes.append(
                    f"{len(names)} recordings {words} ({', '.join(names[:3])}{more}): "
                    "the run goes on with what is there now."
                )
        return replace(self, changes=tuple(changes))

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"fingerprint": self.fingerprint, "seconds": self.seconds} | asdict(self)

    def in_words(self) -> str:
        """Say how much there is to train on and what was left out."""
        pieces = sum(recording.pieces for recording in self.recordings)
        minutes = self.seconds / 60
        first = (
            f"{len(self.recordings)} recordings, {pieces} pieces, {minutes:.1f} min to train on."
        )
        return "\n".join([first, *(f"Note: {line}" for line in self.warnings())])

    def warnings(self) -> list[str]:
        """Say in words what of the folder is not trained on."""
        lines = list(self.changes)
        lines += [f"{path} was left out: {why}" for path, why in self.failed.items()]
        for recording in self.recordings:
            lines += [
                f"{recording.path} {part.start:.1f}-{part.end:.1f} s was left out: {part.why}."
                for part in recording.dropped
            ]
            if not recording.pieces:
                why = (
                    "see above"
                    if recording.dropped
                    else "it is silent"
                    if recording.seconds
                    else "it is empty"
                )
                lines.append(f"{recording.path} gives no piece to train on: {why}.")
        return lines


def preprocess_folder(
    folder: Path, config: TrainingConfig, working_set: WorkingSet, progress: Progress
) -> Dataset:
    """Prepare every recording of a folder (and its sub-folders), skipping what is done already.

    A file that cannot be read is named in the result and skipped. Raises DatasetError when there
    is nothing to train on.
    """
    sounds, ignored = sound_files(folder)
    progress.stage("Preparing recordings", len(sounds))
    recordings, failed = [], {}
    for path in sounds:
        progress.check()
        name = path.relative_to(folder).as_posix()
        try:
            with stage("preprocess"):
                recordings.append(_prepare(path, name, config, working_set))
        except (AudioError, OSError) as error:
            failed[name] = error.message if isinstance(error, AudioError) else str(error)
            _log.warning("%s was left out: %s", name, failed[name])
        progress.advance(1, name)
    dataset = Dataset(
        str(folder.absolute()),
        config.sample_rate,
        config.slice_seconds,
        tuple(recordings),
        failed,
        ignored,
    )
    if not any(recording.pieces for recording in recordings):
        why = dataset.warnings()[:1] or ["It holds no sound."]
        raise DatasetError(
            f"Nothing in {folder} can be trained on. {why[0]}",
            "Give recordings of one voice, ten minutes or more, as wav, flac or mp3.",
        )
    return dataset


def sound_files(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """List a folder's sound files, and the names of its other files.

    Raises DatasetError when there is no folder or no sound in it.
    """
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.is_file() else "not there"
        raise DatasetError(f"{folder} is {kind}.", "Name the folder that holds the recordings.")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    for path in found:
        if not is_text(str(path)):  # the run's description could not name it
            raise DatasetError(
                f"The name {path.name!a} is no text: it was made in another encoding.",
                "Rename the file.",
            )
    sounds = [path for path in found if path.suffix.lower() in SOUND_SUFFIXES]
    others = tuple(
        path.relative_to(folder).as_posix()
        for path in found
        if path.suffix.lower() not in SOUND_SUFFIXES
    )
    if not sounds:
        held = f"{len(others)} files, none of them sound" if others else "no files"
        raise DatasetError(
            f"The folder {folder} holds {held}.",
            "Put recordings of the voice into it: wav, flac, mp3, ogg, m4a…",
        )
    return sounds, others


def _prepare(path: Path, name: str, config: TrainingConfig, working_set: WorkingSet) -> Recording:
    content = file_hash(path)
    key = key_of(
        recording=content, rate=config.sample_rate, slice=config.slice_seconds, recipe=RECIPE
    )
    if not working_set.holds("slices", key):
        wave, _ = read(path, config.sample_rate)
        working_set.write(
            "slices", key, slice_recording(wave, config.sample_rate, config.slice_seconds)
        )
    facts = json.loads(str(working_set.read("slices", key)["facts"]))
    dropped = tuple(Dropped(**part) for part in facts.pop("dropped"))
    return Recording(name, content, key, dropped=dropped, **facts)


def slice_recording(wave: np.ndarray, rate: int, slice_seconds: float) -> dict[str, np.ndarray]:
    """Cut a recording [N] into pieces; returns them joined, as the working set keeps them.

    `wave` and `wave_16k` float32 with their `bounds` and `bounds_16k` [pieces + 1], and `facts`: a
    JSON text with the counts and what was dropped.
    """
    filtered = highpass_causal(wave, rate)
    pieces, pieces_16k, dropped = [], [], []
    for piece in cut_pieces(find_slices(filtered, rate), rate, slice_seconds):
        samples = filtered[piece.start : piece.end]
        if why := why_unusable(samples):
            dropped.append(Dropped(piece.start / rate, piece.end / rate, why))
            continue
        levelled = normalize_piece(samples)
        pieces.append(levelled.astype(np.float32))
        if rate != CONTENT_RATE:
            pieces_16k.append(resample(levelled, rate, CONTENT_RATE).astype(np.float32))
    facts = {
        "seconds": len(wave) / rate,
        "pieces": len(pieces),
        "piece_seconds": sum(map(len, pieces)) / rate,
        "dropped": [asdict(part) for part in dropped],
    }
    arrays = {
        "wave": joined(pieces),
        "bounds": bounds_of(pieces),
        "facts": np.array(json.dumps(facts)),
    }
    if rate != CONTENT_RATE:
        arrays |= {"wave_16k": joined(pieces_16k), "bounds_16k": bounds_of(pieces_16k)}
    return arrays


def dataset_path(name: str, workspace: Workspace) -> Path:
    """Return where a run's description of its recordings lies."""
    return workspace.run(name) / "dataset.json"


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write the description of a run's recordings."""
    with write_atomically(path) as temporary:
        temporary.write_text(
            json.dumps(dataset.record(), indent=1, ensure_ascii=False), encoding="utf-8"
        )


def read_dataset(path: Path) -> Dataset:
    """Read it back. Raises DatasetError when the recordings were not prepared yet."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        recordings = tuple(
            Recording(**{**item, "dropped": tuple(Dropped(**part) for part in item["dropped"])})
            for item in record["recordings"]
        )
        return Dataset(
            record["folder"],
            record["sample_rate"],
            record["slice_seconds"],
            recordings,
            record["failed"],
            tuple(record["ignored"]),
        )
    except FileNotFoundError as error:
        raise DatasetError(
            f"The recordings of {path.parent.name} are not prepared yet.",
            f"Run: rvc-colab preprocess {path.parent.name} FOLDER",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is damaged: {error}.", f"Run: rvc-colab preprocess {path.parent.name} FOLDER"
        ) from error
