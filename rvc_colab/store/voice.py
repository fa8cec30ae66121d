"""A voice in memory: its description, weights and provenance; and the blend of two voices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rvc_colab.errors import VoiceError
from rvc_colab.models.architecture import SynthesizerConfig

Scalar = str | int | float | bool

VOCODER = "HiFi-GAN"
"""The Applio family's name for the only generator that RVC-WebUI knows."""

# Fields whose published key differs from ours.
_KEYS = {"encoder": "embedder_model"}


@dataclass(frozen=True)
class VoiceMetadata:
    """Where a voice comes from; None where the file does not say.

    The names are the Applio family's keys where it has one (`encoder` is its `embedder_model`).
    """

    model_name: str | None = None
    author: str | None = None
    creation_date: str | None = None
    epoch: int | None = None
    step: int | None = None
    encoder: str | None = None
    vocoder: str | None = None
    speakers_id: int | None = None
    dataset_length: str | float | None = None
    dataset_fingerprint: str | None = None
    f0_method: str | None = None
    f0_interpolated: bool | None = None
    seed: int | None = None
    overtrain_info: str | None = None
    model_hash: str | None = None
    weights_hash: str | None = None
    made_with: str | None = None
    info: str | None = None

    @classmethod
    def from_keys(cls, content: Mapping[str, Any]) -> VoiceMetadata:
        """Take the known scalars out of a voice file's dict; anything else is left."""
        found: dict[str, Any] = {}
        for field in fields(cls):
            value = content.get(_KEYS.get(field.name, field.name))
            if isinstance(value, str | int | float):
                found[field.name] = _fitting(value, str(field.type))
        return cls(**{name: value for name, value in found.items() if value is not None})

    def to_keys(self) -> dict[str, Scalar]:
        """Return what is known under the published keys, scalars only; `info` stands elsewhere."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        known.pop("info", None)
        return {_KEYS.get(name, name): value for name, value in known.items()}


@dataclass(frozen=True)
class Voice:
    """A voice as read from a file: published tensor names, whatever dialect the file spoke.

    `warnings` say in words what in the file was missing, stale or contradictory.
    """

    config: SynthesizerConfig
    weights: dict[str, Tensor]
    metadata: VoiceMetadata
    dialect: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def encoder(self) -> str | None:
        """The content encoder the voice was made with, None where the file does not say."""
        return self.metadata.encoder


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the tensors in name order: names, shapes, types and bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def merge_voices(first: Voice, second: Voice, share: float, name: str = "") -> Voice:
    """Blend two voices: `share` (0..1) of the first and the rest of the second, in 16 bit.

    The description is the first's; where the speakers differ in number, the smaller table remains.
    Raises VoiceError when the two are of different architectures or encoders.
    """
    if not 0 <= share <= 1:
        raise VoiceError(f"The share of the first voice is {share}; it goes from 0 to 1.")
    _check_mergeable(first, second)
    speakers = min(first.config.speakers, second.config.speakers)
    blended = {}
    for key, ours in first.weights.items():
        theirs = second.weights[key]
        if key == "emb_g.weight":
            ours, theirs = ours[:speakers], theirs[:speakers]
        blended[key] = (share * ours.float() + (1 - share) * theirs.float()).half()
    described = f"{share:g} of {_title(first)}, {1 - share:g} of {_title(second)}"
    metadata = VoiceMetadata(
        model_name=name or None,
        encoder=first.encoder or second.encoder,
        vocoder=VOCODER,
        speakers_id=speakers,
        info=described,
    )
    config = replace(first.config, speakers=speakers)
    return Voice(config, blended, metadata, "merged", (*first.warnings, *second.warnings))


def _check_mergeable(first: Voice, second: Voice) -> None:
    hint = "Merge voices of the same version, rate and pitch guidance, made with the same encoder."
    ours, theirs = first.config, second.config
    for label, a, b in (
        ("version", ours.version, theirs.version),
        ("sample rate", ours.sample_rate, theirs.sample_rate),
        ("pitch guidance", ours.has_f0, theirs.has_f0),
        ("upsampling rates", ours.upsample_rates, theirs.upsample_rates),
    ):
        if a != b:
            raise VoiceError(f"The two voices differ in {label}: {a} and {b}.", hint)
    if first.encoder and second.encoder and first.encoder != second.encoder:
        raise VoiceError(
            f"The two voices were made with different encoders: {first.encoder} and "
            f"{second.encoder}.",
            hint,
        )
    if different := first.weights.keys() ^ second.weights.keys():
        raise VoiceError(
            f"The two voices are built differently: {len(different)} tensors exist in only one of "
            f"them, for example {min(different)}.",
            hint,
        )
    for key, tensor in first.weights.items():
        other, whole = second.weights[key], slice(1 if key == "emb_g.weight" else 0, None)
        if tensor.shape[whole] != other.shape[whole]:
            raise VoiceError(
                f"The two voices differ in size: {key} is {list(tensor.shape)} and "
                f"{list(other.shape)}.",
                hint,
            )


def _title(voice: Voice) -> str:
    return voice.metadata.model_name or "an unnamed voice"


def _fitting(value: Scalar, wanted: str) -> Scalar | None:
    """Bring a scalar to its field's type where nothing is lost (`"120"` as an epoch), else None."""
    if isinstance(value, str) and not value.strip():
        return None
    if wanted.startswith("int"):
        text = str(value).removesuffix(".0")
        is_number = text.isascii() and text.isdigit() and len(text) < 19
        return int(text) if is_number and not isinstance(value, bool) else None
    if wanted.startswith("bool"):
        return value if isinstance(value, bool) else None
    return value if "float" in wanted and not isinstance(value, bool) else str(value)
