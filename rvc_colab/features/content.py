"""Content: what is said, frame by frame, with as little as possible of who says it.

HuBERT and ContentVec through transformers, and `tiny`, the encoder inside the package. A v1 voice
hears layer 9 through the final projection (256 wide), a v2 voice layer 12 (768 wide); the layers
above the needed one are not computed. 16 kHz in, a frame every 320 samples out. Sound is never
padded here: HuBERT normalises over the whole stretch, so zeros would change every frame.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from rvc_colab.config import CONTENT_HOP
from rvc_colab.errors import AssetError, EncoderError
from rvc_colab.features.encoder_names import (
    ENCODER_NAMES,
    TINY,
    canonical_encoder,
    check_encoder,
    default_encoder,
)
from rvc_colab.features.hubert_layouts import hubert_configuration, transformers_names

__all__ = [
    "ENCODER_NAMES",
    "ContentEncoder",
    "EncoderWeights",
    "HubertEncoder",
    "TinyContentEncoder",
    "build_hubert",
    "check_encoder",
    "check_width",
    "default_encoder",
    "frame_count",
    "load_content_encoder",
]

_log = logging.getLogger(__name__)

LAYER = {"v1": 9, "v2": 12}  # published: which layer a voice hears
WIDTH = {"v1": 256, "v2": 768}  # of published voices
# A frame's receptive field is 400 samples, 80 more than its hop: (N - 80) // 320 frames.
_OVERHANG = 80


class ContentEncoder(Protocol):
    """Turns 16 kHz sound into content frames, 50 a second."""

    name: str

    def width(self, version: str) -> int:
        """Return the width of a content frame for voices of this version."""

    def encode(self, wave: torch.Tensor, version: str) -> torch.Tensor:
        """Encode 16 kHz sound [N] or [B, N] → content float32 [T, C] or [B, T, C]."""


@dataclass(frozen=True)
class EncoderWeights:
    """The weights of an encoder as read from its file: tensors by name, and config.json if any."""

    name: str
    tensors: Mapping[str, torch.Tensor]
    configuration: dict[str, Any] | None = None


def frame_count(samples: int) -> int:
    """Return how many content frames 16 kHz sound gives: (samples - 80) // 320, at least 0."""
    return max(0, (samples - _OVERHANG) // CONTENT_HOP)


class HubertEncoder:
    """A HuBERT network with its final projection; `build_hubert` makes one from weights."""

    def __init__(self, name: str, model: Any, final_projection: nn.Linear | None) -> None:
        self.name = name
        self.model = model  # transformers' HubertModel
        self.final_projection = final_projection
        self._upto: dict[int, nn.Module] = {}

    @property
    def layers(self) -> int:
        """Return the number of transformer layers of the network."""
        return len(self.model.encoder.layers)

    def width(self, version: str) -> int:
        """Return the width of a content frame: of the projection (v1) or of a layer (v2)."""
        self._check_version(version)
        if version == "v1":
            assert self.final_projection is not None
            return int(self.final_projection.out_features)
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def encode(self, wave: torch.Tensor, version: str) -> torch.Tensor:
        """Encode 16 kHz sound [N] or [B, N] → content float32 [T, C] or [B, T, C].

        Items of a batch must be equally long in truth, not by padding. Raises EncoderError for
        sound under 400 samples (25 ms), and for a version that the weights do not serve.
        """
        self._check_version(version)
        batch = _as_batch(wave)
        reference = next(self.model.parameters())
        heard = self._model_upto(LAYER[version])(batch.to(reference.device, reference.dtype))[0]
        if version == "v1":
            assert self.final_projection is not None
            heard = self.final_projection(heard)
        content = heard.float()
        return content if wave.ndim == 2 else content[0]

    def _check_version(self, version: str) -> None:
        if version not in LAYER:
            raise EncoderError(f"The version {version!r} is unknown; it is v1 or v2.")
        if self.layers < LAYER[version]:
            raise EncoderError(
                f"{version} voices hear layer {LAYER[version]}, "
                f"the encoder {self.name} has {self.layers}.",
                "Use the encoder that the voice was made with.",
            )
        if version == "v1" and self.final_projection is None:
            raise EncoderError(
                f"v1 voices need the final projection, which the weights of {self.name} lack.",
                "Use contentvec or hubert_base.pt.",
            )

    def _model_upto(self, layer: int) -> nn.Module:
        """Return a view of the network that ends after `layer` and shares its weights."""
        if layer == self.layers:
            return self.model
        if layer not in self._upto:
            view, encoder = _shallow(self.model), _shallow(self.model.encoder)
            encoder.layers = nn.ModuleList(list(self.model.encoder.layers)[:layer])
            if self.model.config.do_stable_layer_norm:
                encoder.layer_norm = nn.Identity()  # there it belongs to the last layer only
            view.encoder = encoder
            self._upto[layer] = view
        return self._upto[layer]


class TinyContentEncoder:
    """The encoder inside the package: 256 wide, for v1-shaped voices that were made with it."""

    name = TINY

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def width(self, version: str) -> int:
        """Return 256; raises EncoderError for v2, whose voices are 768 wide."""
        if version != "v1":
            raise EncoderError(
                f"The tiny encoder serves v1 voices (256 wide), this one is {version}.",
                "Use the encoder that the voice was made with, for example contentvec.",
            )
        return WIDTH["v1"]

    @torch.no_grad()
    def encode(self, wave: torch.Tensor, version: str = "v1") -> torch.Tensor:
        """Encode 16 kHz sound [N] or [B, N] → content float32 [T, 256] or [B, T, 256]."""
        self.width(version)
        batch = _as_batch(wave)
        device = next(self.model.parameters()).device
        content = self.model(batch.to(device, torch.float32)).float()  # its front end needs float32
        return content if wave.ndim == 2 else content[0]


def load_content_encoder(
    name_or_path: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    read: Callable[[str], EncoderWeights] | None = None,
) -> ContentEncoder:
    """Load an encoder by name or path. `tiny` is always there.

    The weights of the others come from `read(name_or_path)`; `store.encoders` reads them from
    disk and fetches known ones.
    """
    name = canonical_encoder(name_or_path)
    if name == TINY:
        return _load_tiny(device, dtype)
    if read is None:
        raise EncoderError(
            f"The weights of the encoder {name} must be read from disk first.",
            "From Python, use rvc_colab.store.encoders.open_content_encoder.",
        )
    return build_hubert(read(name_or_path), device, dtype)


def build_hubert(
    weights: EncoderWeights, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> HubertEncoder:
    """Build HuBERT from weights of the transformers or the fairseq layout.

    Raises EncoderError when tensors are missing or of another shape.
    """
    from transformers import HubertConfig, HubertModel

    tensors = transformers_names(weights.tensors)
    inferred = hubert_configuration(tensors)
    configuration = HubertConfig(**_usable(weights.configuration or inferred))
    with torch.device("meta"):  # no memory and no time for weights that are replaced at once
        model = HubertModel(configuration)
    projection = _final_projection(tensors)
    wanted = set(model.state_dict())
    if "masked_spec_embed" in wanted:  # only training uses it
        tensors.setdefault("masked_spec_embed", torch.zeros(configuration.hidden_size))
    if missing := sorted(wanted - set(tensors)):
        raise EncoderError(
            f"The weights of {weights.name} lack {len(missing)} of {len(wanted)} tensors, "
            f"first {missing[0]}.",
            "The file is incomplete or of another network; fetch it again.",
        )
    try:
        model.load_state_dict({name: tensors[name] for name in wanted}, assign=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise EncoderError(
            f"The weights of {weights.name} do not fit their config.json: {reason}"
        ) from error
    model.float()
    convolution = model.encoder.pos_conv_embed.conv
    if nn.utils.parametrize.is_parametrized(convolution, "weight"):
        nn.utils.parametrize.remove_parametrizations(convolution, "weight")
    for part in (model, projection):
        if part is not None:
            part.requires_grad_(False).eval().to(device, dtype)
    return HubertEncoder(weights.name, model, projection)


def check_width(encoder: ContentEncoder, version: str, content_channels: int) -> None:
    """Raise EncoderError unless the encoder's frames are as wide as the voice's content input."""
    width = encoder.width(version)
    if width != content_channels:
        raise EncoderError(
            f"The voice hears content {content_channels} wide, "
            f"the encoder {encoder.name} gives {width} for {version}.",
            "Use the encoder that the voice was made with.",
        )


def _load_tiny(device: torch.device | str, dtype: torch.dtype) -> TinyContentEncoder:
    from safetensors.torch import load_file

    from rvc_colab.models.tiny_encoder import TinyEncoder

    model = TinyEncoder()
    with resources.as_file(
        resources.files("rvc_colab") / "assets" / "tiny_encoder.safetensors"
    ) as path:
        if not Path(path).is_file():
            raise AssetError(f"The embedded encoder {path} is missing.", "Install rvc_colab again.")
        tensors = load_file(path)
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    model.requires_grad_(False).eval().to(device, dtype)
    return TinyContentEncoder(model)


def _usable(configuration: dict[str, Any]) -> dict[str, Any]:
    """Leave out what describes the file rather than the network."""
    own = {
        "architectures",
        "model_type",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "_name_or_path",
    }
    return {name: value for name, value in configuration.items() if name not in own}


def _final_projection(tensors: dict[str, torch.Tensor]) -> nn.Linear | None:
    weight, bias = tensors.get("final_proj.weight"), tensors.get("final_proj.bias")
    if weight is None or bias is None:
        return None
    with torch.device("meta"):
        projection = nn.Linear(weight.shape[1], weight.shape[0])
    projection.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return projection.float()


def _as_batch(wave: torch.Tensor) -> torch.Tensor:
    if wave.ndim not in (1, 2):
        raise EncoderError(f"Sound for the encoder must be [N] or [B, N], got {list(wave.shape)}.")
    if not frame_count(wave.shape[-1]):
        raise EncoderError(
            f"Sound of {wave.shape[-1]} samples is too short for a content frame; "
            "400 (25 ms) is the least."
        )
    return wave if wave.ndim == 2 else wave[None]


def _shallow(module: Any) -> Any:
    """Copy a module so that its children can be swapped while all weights stay shared."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
