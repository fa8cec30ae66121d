"""Pieces → content and pitch, file by file: an interrupted extraction goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError, TrainingError
from rvc_colab.features.content import ContentEncoder, frame_count
from rvc_colab.profiling import stage
from rvc_colab.progress import Progress
from rvc_colab.training.batches import Clip
from rvc_colab.training.preprocess import Dataset, Recording
from rvc_colab.training.working_set import WorkingSet, bounds_of, joined, key_of, split
from rvc_colab.workspace import Workspace, write_atomically

RECIPE = 2  # raise it when the features of the same pieces would come out differently

NO_PITCH = "none"
F0Estimator = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Hearing:
    """By what content and pitch were heard: names, and the hash of the encoder's weights."""

    encoder: str
    encoder_hash: str
    version: str
    f0_method: str = NO_PITCH
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def in_words(self) -> str:
        """Say by what the pieces were heard."""
        return "\n".join([f"Content by {self.encoder}, pitch by {self.f0_method}.", *self.notes])

    def content_key(self, recording: Recording) -> str:
        """Name the content of a recording by all it depends on; another pitch leaves it alone."""
        return key_of(
            slices=recording.key,
            encoder=self.encoder_hash,
            version=self.version,
            recipe=RECIPE,
        )

    def pitch_key(self, recording: Recording) -> str:
        """Name the pitch of a recording by all it depends on; another encoder leaves it alone."""
        return key_of(slices=recording.key, f0=self.f0_method, recipe=RECIPE)


@dataclass(frozen=True)
class Extractor:
    """The encoder and the pitch estimator (None: a voice without f0) that hear the pieces."""

    encoder: ContentEncoder
    version: str
    f0: F0Estimator | None
    hearing: Hearing

    @classmethod
    def of(cls, encoder: ContentEncoder, version: str, f0: Any = None) -> Extractor:
        """Name an encoder by its weights and an estimator by its name."""
        name = NO_PITCH if f0 is None else str(getattr(f0, "name", type(f0).__name__))
        notes = tuple(getattr(f0, "notes", ()))
        hearing = Hearing(encoder.name, encoder_fingerprint(encoder), version, name, notes)
        return cls(encoder, version, f0, hearing)


def hearing_path(name: str, workspace: Workspace) -> Path:
    """Return where a run notes by what it was heard."""
    return workspace.run(name) / "features.json"


def write_hearing(path: Path, hearing: Hearing) -> None:
    """Note by what a run's recordings were heard."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(hearing.record(), indent=1), encoding="utf-8")


def read_hearing(path: Path) -> Hearing:
    """Read it back. Raises DatasetError when nothing was extracted yet."""
    hint = f"Run: rvc-colab extract {path.parent.name}"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Hearing(**{**record, "notes": tuple(record["notes"])})
    except FileNotFoundError as error:
        raise DatasetError(
            f"Content and pitch of {path.parent.name} are not extracted yet.", hint
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged: {error}.", hint) from error


def encoder_fingerprint(encoder: ContentEncoder) -> str:
    """Name an encoder by the bytes of its weights, so that an exchanged file is noticed."""
    model = getattr(encoder, "model", None)
    digest = hashlib.sha256(encoder.name.encode())
    if isinstance(model, torch.nn.Module):
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def extract_dataset(
    dataset: Dataset, extractor: Extractor, working_set: WorkingSet, progress: Progress
) -> None:
    """Compute what is missing of the content and pitch of every recording."""
    progress.stage("Listening to content and pitch", len(dataset.recordings))
    for recording in dataset.recordings:
        progress.check()
        wanted = {"content": (extractor.hearing.content_key(recording), extract_content)}
        if extractor.f0 is not None:
            wanted["pitch"] = (extractor.hearing.pitch_key(recording), extract_pitch)
        missing = {k: v for k, v in wanted.items() if not working_set.holds(k, v[0])}
        if missing:
            pieces = pieces_16k(working_set, recording)
        for kind, (key, hear) in missing.items():
            with stage("extract"):
                working_set.write(kind, key, hear(pieces, extractor))
        progress.advance(1, recording.path)


def pieces_16k(working_set: WorkingSet, recording: Recording) -> list[np.ndarray]:
    """Read the 16 kHz pieces of a recording."""
    slices = _slices(working_set, recording)
    suffix = "_16k" if "wave_16k" in slices else ""
    return split(slices[f"wave{suffix}"], slices[f"bounds{suffix}"])


def _slices(working_set: WorkingSet, recording: Recording) -> dict[str, np.ndarray]:
    if not working_set.holds("slices", recording.key):
        raise DatasetError(
            f"The pieces of {recording.path} are gone from the cache.",
            "Run the preprocess step again.",
        )
    return working_set.read("slices", recording.key)


def extract_content(pieces: list[np.ndarray], extractor: Extractor) -> dict[str, np.ndarray]:
    """Hear the content of each 16 kHz piece: `rows` float16 [rows, C], joined, with `bounds`.

    A piece too short for a content frame has none.
    """
    content, width = [], extractor.encoder.width(extractor.version)
    for piece in pieces:
        if frame_count(len(piece)):
            heard = extractor.encoder.encode(torch.from_numpy(piece), extractor.version)
            content.append(_finite(heard.cpu().numpy()).astype(np.float16))
        else:
            content.append(np.zeros((0, width), dtype=np.float16))
    return {"rows": joined(content, (width,), np.float16), "bounds": bounds_of(content)}


def extract_pitch(pieces: list[np.ndarray], extractor: Extractor) -> dict[str, np.ndarray]:
    """Hear the pitch of each 16 kHz piece: `f0` float32 in Hz, joined, with `bounds`."""
    assert extractor.f0 is not None
    pitch = [_finite(np.asarray(extractor.f0(piece), dtype=np.float32)) for piece in pieces]
    return {"f0": joined(pitch), "bounds": bounds_of(pitch)}


def read_content(
    working_set: WorkingSet, hearing: Hearing, recording: Recording
) -> list[np.ndarray]:
    """Read the content of a recording's pieces, float16 [rows, C] each.

    Raises DatasetError when it is not computed yet.
    """
    arrays = _features(working_set, "content", hearing.content_key(recording), recording)
    return split(arrays["rows"], arrays["bounds"])


def read_pitch(working_set: WorkingSet, hearing: Hearing, recording: Recording) -> list[np.ndarray]:
    """Read the pitch of a recording's pieces in Hz. Raises DatasetError when it is not there."""
    arrays = _features(working_set, "pitch", hearing.pitch_key(recording), recording)
    return split(arrays["f0"], arrays["bounds"])


def _features(
    working_set: WorkingSet, kind: str, key: str, recording: Recording
) -> dict[str, np.ndarray]:
    if not working_set.holds(kind, key):
        raise DatasetError(
            f"The features of {recording.path} are not computed yet.", "Run the extract step first."
        )
    return working_set.read(kind, key)


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise TrainingError(
            "Content or pitch of a piece came out as not-a-number.",
            "Use 32-bit precision, or another method.",
        )
    return values


@dataclass(frozen=True)
class Clips:
    """The clips of some recordings, and why pieces of them were left out."""

    clips: list[Clip]
    warnings: list[str]


def load_clips(
    recordings: Sequence[Recording],
    hearing: Hearing,
    working_set: WorkingSet,
    config: TrainingConfig,
    least: int,
) -> Clips:
    """Read the clips of recordings into memory.

    Pieces shorter than `least` frames cannot fill a training slice: they are left out and named.
    Raises DatasetError when features are missing.
    """
    clips, warnings, hop = [], [], config.sample_rate // 100
    for recording in recordings:
        contents = read_content(working_set, hearing, recording)
        slices = _slices(working_set, recording)
        waves = split(slices["wave"], slices["bounds"])
        pitches: list[Any] = [None] * len(waves)
        if hearing.f0_method != NO_PITCH:
            pitches = list(read_pitch(working_set, hearing, recording))
        for number, (wave, content, f0_hz) in enumerate(zip(waves, contents, pitches, strict=True)):
            clip = Clip(
                wave,
                content,
                f0_hz if config.use_f0 else None,
                config.speaker,
                f"{recording.path}#{number}",
            )
            if clip.frames(hop) >= least:
                clips.append(clip)
            else:
                seconds = len(wave) / config.sample_rate
                warnings.append(
                    f"{recording.path}: a piece of {seconds:.2f} s was left out: shorter than the "
                    f"training slice of {least / 100:.2f} s."
                )
    return Clips(clips, warnings)
