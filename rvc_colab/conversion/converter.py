"""A voice ready to convert: the networks it needs, chosen from its file and the settings.

Nothing is downloaded here. What is missing is an error with the command that fetches it; what is
replaced by something else is said in `warnings`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rvc_colab.config import ConversionConfig, F0Method
from rvc_colab.conversion.pipeline import Networks, Voicing
from rvc_colab.device import DeviceChoice, choose_device
from rvc_colab.errors import AssetError, EncoderError, IndexFileError
from rvc_colab.features.content import ContentEncoder, check_width
from rvc_colab.features.encoder_names import (
    TINY,
    canonical_encoder,
    check_encoder,
    default_encoder,
    is_known_encoder,
)
from rvc_colab.features.retrieval import RetrievalIndex, read_index
from rvc_colab.models.synthesizer import Synthesizer, prepare_for_inference
from rvc_colab.store.assets import DEMO_INDEX, bundled, fetch, is_present, place
from rvc_colab.store.checkpoint import Voice, build_synthesizer, load_tensors, read_voice
from rvc_colab.store.encoders import open_content_encoder
from rvc_colab.store.voices import DEMO, find_index, find_voice
from rvc_colab.workspace import Workspace

_log = logging.getLogger(__name__)

NO_INDEX = "none"


@dataclass
class Converter:
    """A loaded voice with all that conversion needs; use it for as many sounds as you like.

    `card` describes the voice and what it runs on in plain values; `warnings` name every choice
    that fell back to something else.
    """

    networks: Networks
    card: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def sample_rate(self) -> int:
        """Rate of the voice in Hz."""
        return self.networks.voice.config.sample_rate


def load_converter(
    voice: str | Path,
    index: str | Path | None = None,
    config: ConversionConfig | None = None,
    workspace: Workspace | None = None,
) -> Converter:
    """Load a voice by name, by path, or `demo`, with its encoder, pitch estimator and index.

    `index` is a path, "none", or None: then the one found beside the voice. Settings that matter
    here are `encoder`, `f0_method`, `device`, `precision`, `index_rate`, `gpu_retrieval`. Raises
    VoiceError, EncoderError, IndexFileError, AssetError or DeviceError.
    """
    config, workspace = config or ConversionConfig(), workspace or Workspace.locate()
    path = find_voice(voice, workspace)
    file = read_voice(path)
    choice = choose_device(config.device, config.precision)
    warnings = list(file.warnings)
    if file.metadata.f0_interpolated and not config.interpolate_f0:
        warnings.append(
            "The voice was trained with pitch drawn through unvoiced frames: --interpolate-f0 "
            "fits it."
        )
    encoder_name = config.encoder or default_encoder(file.encoder)
    encoder = load_encoder(encoder_name, file, choice, workspace, warnings)
    f0 = _load_f0(config, choice, workspace, warnings) if file.config.has_f0 else None
    found = choose_index(index, path, file.config.version, workspace)
    bank = None
    if found is not None and config.index_rate > 0:
        bank = _load_index(found, file, config, choice, warnings)
    networks = Networks(
        prepare_voice(build_synthesizer(file), choice), encoder, f0, bank, choice.device
    )
    for warning in warnings:
        _log.warning(warning)
    card = {
        "voice": DEMO if str(voice) == DEMO else path.stem,
        "path": str(path),
        "version": file.config.version,
        "sample_rate": file.config.sample_rate,
        "has_f0": file.config.has_f0,
        "speakers": file.config.speakers,
        "dialect": file.dialect,
        "encoder": encoder.name,
        "f0_method": None if f0 is None else f0.name,
        "index": None if bank is None else str(found),
        "device": choice.reason,
    }
    return Converter(networks, card, warnings)


def choose_index(
    index: str | Path | None, voice: Path, version: str, workspace: Workspace
) -> Path | None:
    """Choose the index for the voice file `voice`: the named one, or the one that belongs to it.

    `index` is a path, a file name in the workspace's indexes, "none", or None. Returns None where
    there is none; raises IndexFileError when a named one is missing.
    """
    if index is None:
        return find_index(voice, workspace.indexes, version)
    if str(index).strip().lower() == NO_INDEX:
        return None
    path = Path(index).expanduser()
    if str(index) == DEMO:
        return bundled(DEMO_INDEX)
    inside = workspace.indexes / path.name
    for candidate in (path, inside, inside.with_name(f"{path.name}.index")):
        if candidate.is_file():
            return candidate
    raise IndexFileError(
        f"There is no index {index}.", "Give the path of an .index file, or --index none."
    )


def load_encoder(
    name: str, voice: Voice, choice: DeviceChoice, workspace: Workspace, warnings: list[str]
) -> ContentEncoder:
    """Load the content encoder for a voice, and check that it is the one it was made with."""
    warnings += check_encoder(voice.encoder, name)
    if voice.encoder is None and default_encoder(voice.encoder) == name:
        _log.info("The voice does not name its content encoder; %s is used.", name)
    known = canonical_encoder(name)
    if is_known_encoder(name) and known != TINY and not is_present(known, workspace.cache):
        raise EncoderError(
            f"The voice needs the content encoder {known}, which is not in {workspace.cache}.",
            f"Run: rvc-colab fetch {known}   (about 380 MB, once; without a network put the files "
            f"into {place(known, workspace.cache)})",
        )
    encoder = open_content_encoder(
        name, choice.device, choice.dtype, cache=workspace.cache, offline=True
    )
    check_width(encoder, voice.config.version, voice.config.content_channels)
    return encoder


def _load_f0(
    config: ConversionConfig, choice: DeviceChoice, workspace: Workspace, warnings: list[str]
) -> Voicing:
    from rvc_colab.features.f0 import load_f0_estimator

    here = is_present("rmvpe", workspace.cache)
    method, weights = config.f0_method, None
    if method is F0Method.AUTO and here:
        method = F0Method.RMVPE
    if method is F0Method.RMVPE:
        if not here:
            raise AssetError(
                f"The pitch estimator rmvpe is not in {workspace.cache}.",
                "Run: rvc-colab fetch rmvpe   (180 MB, once). Or choose --f0-method swift, which "
                "needs no download.",
            )
        weights = load_tensors(fetch("rmvpe", workspace.cache, offline=True), AssetError)
    estimator = load_f0_estimator(method, choice.device, weights)
    warnings += estimator.notes
    return estimator


def _load_index(
    path: Path,
    voice: Voice,
    config: ConversionConfig,
    choice: DeviceChoice,
    warnings: list[str],
) -> RetrievalIndex:
    device = choice.device if config.gpu_retrieval else torch.device("cpu")
    index = read_index(path, voice.config.content_channels, device)
    warnings += index.warnings
    return index


def prepare_voice(model: Synthesizer, choice: DeviceChoice) -> Synthesizer:
    """Bring a voice into its fast form on the chosen device.

    16-bit precision is for the generator, which is nine tenths of the work; prior and flow, whose
    errors would be heard as wrong sounds, stay in 32 bit.
    """
    model = model.to(choice.device)
    prepare_for_inference(model)
    if choice.dtype is not torch.float32:
        model.dec.to(choice.dtype)
    return model
