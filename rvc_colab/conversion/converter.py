"""A voice ready to convert: the networks it needs, chosen from its file and the settings.

The networks come from the memory manager, which loads each once and shares it. Nothing is
downloaded here: what is missing is an error with the command that fetches it; what is replaced by
something else is said in `warnings`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rvc_colab.config import ConversionConfig, F0Method
from rvc_colab.conversion.pipeline import Networks
from rvc_colab.device import DeviceChoice, choose_device
from rvc_colab.errors import AssetError, EncoderError, IndexFileError
from rvc_colab.features.content import check_width
from rvc_colab.features.encoder_names import (
    TINY,
    canonical_encoder,
    check_encoder,
    default_encoder,
    is_known_encoder,
)
from rvc_colab.memory.families import ModelKey
from rvc_colab.memory.lease import Lease
from rvc_colab.memory.manager import ModelManager
from rvc_colab.memory.process import default_manager
from rvc_colab.profiling import stage
from rvc_colab.store.assets import DEMO_INDEX, bundled, is_present, place
from rvc_colab.store.checkpoint import Voice, describe_voice
from rvc_colab.store.voices import DEMO, find_index, find_voice
from rvc_colab.workspace import Workspace

_log = logging.getLogger(__name__)

NO_INDEX = "none"


@dataclass
class Converter:
    """A loaded voice with all that conversion needs; use it for as many sounds as you like.

    `card` describes the voice and what it runs on in plain values; `warnings` name every choice
    that fell back to something else; `keys` are the manager's names of its networks.
    """

    networks: Networks
    card: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    keys: frozenset[ModelKey] = frozenset()

    @property
    def sample_rate(self) -> int:
        """Rate of the voice in Hz."""
        return self.networks.voice.config.sample_rate


@dataclass(frozen=True)
class _Parts:
    """What a conversion needs: the voice described, the models' keys by part, and where to."""

    name: str
    path: Path
    file: Voice
    keys: dict[str, ModelKey]
    choice: DeviceChoice
    warnings: list[str]
    any_gpu: bool = False

    @property
    def dtype(self) -> str:
        """Name the precision as the manager does."""
        return str(self.choice.dtype).removeprefix("torch.")

    @property
    def where(self) -> str:
        """Name the device for the manager; `auto` is the GPU with the most room."""
        return "auto" if self.any_gpu else str(self.choice.device)


@contextlib.contextmanager
def borrow_converter(
    voice: str | Path,
    index: str | Path | None = None,
    config: ConversionConfig | None = None,
    workspace: Workspace | None = None,
    manager: ModelManager | None = None,
) -> Iterator[Converter]:
    """Lend a voice by name, by path, or `demo`, with its encoder, pitch estimator and index.

    `index` is a path, "none", or None: then the one found beside the voice. Settings that matter
    here are `encoder`, `f0_method`, `device`, `precision`, `index_rate`, `gpu_retrieval`. `manager`
    defaults to that of the process; what it has loaded is not loaded again. Raises VoiceError,
    EncoderError, IndexFileError, AssetError, DeviceError or MemoryBudgetError.
    """
    config, workspace = config or ConversionConfig(), workspace or Workspace.locate()
    parts = _choose(voice, index, config, workspace)
    with contextlib.ExitStack() as stack:
        with stage("loading"):
            lending = (manager or default_manager()).acquire_all(
                list(parts.keys.values()), parts.where, parts.dtype
            )
            lent = dict(zip(parts.keys, stack.enter_context(lending), strict=True))
            converter = _assemble(parts, lent)
        for warning in converter.warnings:
            _log.warning(warning)
        yield converter


def has_room(
    voice: str | Path,
    index: str | Path | None,
    config: ConversionConfig,
    workspace: Workspace,
    manager: ModelManager,
) -> bool:
    """Tell whether the models of a conversion could be lent now, without waiting for anybody.

    Raises what `borrow_converter` raises of files that are missing.
    """
    parts = _choose(voice, index, config, workspace)
    return manager.has_room(list(parts.keys.values()), parts.where, parts.dtype)


def _choose(
    voice: str | Path, index: str | Path | None, config: ConversionConfig, workspace: Workspace
) -> _Parts:
    """Find the files, check what can be checked before anything is loaded, and name the keys."""
    path = find_voice(voice, workspace)
    file = describe_voice(path)
    choice = choose_device(config.device, config.precision)
    warnings = list(file.warnings)
    if file.metadata.f0_interpolated and not config.interpolate_f0:
        warnings.append(
            "The voice was trained with pitch drawn through unvoiced frames: --interpolate-f0 "
            "fits it."
        )
    keys = {"voice": ModelKey("voice", str(path))}
    keys["encoder"] = _encoder_key(config, file, workspace, warnings)
    if file.config.has_f0:
        keys["f0"] = _f0_key(config, workspace)
    found = choose_index(index, path, file.config.version, workspace)
    if found is not None and config.index_rate > 0:
        options = () if config.gpu_retrieval else (("device", "cpu"),)
        keys["index"] = ModelKey("index", str(found), options)
    name = DEMO if str(voice) == DEMO else path.stem
    # A GPU that a person did not name may be any of them.
    any_gpu = config.device == "auto" and choice.device.type == "cuda"
    return _Parts(name, path, file, keys, choice, warnings, any_gpu)


def _assemble(parts: _Parts, lent: dict[str, Lease]) -> Converter:
    """Put lent models together, and check that they fit each other."""
    shape = parts.file.config
    encoder = lent["encoder"].model
    pitch = lent["f0"].model if "f0" in lent else None
    bank = lent["index"].model if "index" in lent else None
    check_width(encoder, shape.version, shape.content_channels)
    warnings = [*parts.warnings, *lent["voice"].notes]  # one list for all that came together
    if bank is not None:
        bank.check_width(shape.content_channels)
        warnings += bank.warnings
    warnings += getattr(pitch, "notes", ())
    landed, wished = lent["voice"].device, str(parts.choice.device)
    card = {
        "voice": parts.name,
        "path": str(parts.path),
        "version": shape.version,
        "sample_rate": shape.sample_rate,
        "has_f0": shape.has_f0,
        "speakers": shape.speakers,
        "dialect": parts.file.dialect,
        "encoder": encoder.name,
        "f0_method": None if pitch is None else pitch.name,
        "index": None if bank is None else lent["index"].key.name,
        "device": parts.choice.reason if landed == wished else f"{landed}: it had the most room.",
    }
    voice = lent["voice"].model.network
    networks = Networks(voice, encoder, pitch, bank, torch.device(landed))
    return Converter(networks, card, warnings, frozenset(lease.key for lease in lent.values()))


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


def _encoder_key(
    config: ConversionConfig, voice: Voice, workspace: Workspace, warnings: list[str]
) -> ModelKey:
    """Name the content encoder for a voice; warn when it is not the one it was made with."""
    name = config.encoder or default_encoder(voice.encoder)
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
    return ModelKey("encoder", name, (("cache", str(workspace.cache)),))


def _f0_key(config: ConversionConfig, workspace: Workspace) -> ModelKey:
    if config.f0_method is F0Method.RMVPE and not is_present("rmvpe", workspace.cache):
        raise AssetError(
            f"The pitch estimator rmvpe is not in {workspace.cache}.",
            "Run: rvc-colab fetch rmvpe   (180 MB, once). Or choose --f0-method swift, which "
            "needs no download.",
        )
    return ModelKey("f0", str(config.f0_method), (("cache", str(workspace.cache)),))
