"""The dialects in which voices are written: what a file's dict says, in our words.

Pure functions over what was loaded. RVC-WebUI writes six keys; old exports lack `version` and `f0`;
the Applio family adds scalars; Advanced-RVC adds `energy` and `architecture`; newer torch renames
the weight norm; training wrappers put prefixes before every name.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rvc_colab.errors import VoiceError
from rvc_colab.models.architecture import CONTENT_WIDTHS, SynthesizerConfig
from rvc_colab.models.synthesizer import Synthesizer
from rvc_colab.store.voice import Voice, VoiceMetadata

_SUPPORTED_VOCODERS = {"", "none", "default", "hifigan", "nsfhifigan", "hifigannsf"}
_FOREIGN_TENSORS = {  # tensors that only another kind of voice has
    "dec.mrfs.": "with the vocoder MRF HiFi-GAN",
    "dec.upsample_conv_blocks.": "with the vocoder RefineGAN",
    "dec.downsample_blocks.": "with the vocoder RefineGAN",
    "enc_p.emb_energy.": "with energy as an input",
    "pre.weight": "of the SVC architecture",
}
_APPLIO_KEYS = {
    "epoch",
    "step",
    "model_hash",
    "creation_date",
    "embedder_model",
    "vocoder",
    "author",
}
_HINT_FOREIGN = (
    "Convert with the program it was made with, or ask its author for an RVC (HiFi-GAN) voice."
)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under its published names: no wrapper's prefix, old weight-norm names."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("_orig_mod.", "")
        while name.startswith("module."):
            name = name.removeprefix("module.")
        name = name.replace(".parametrizations.weight.original0", ".weight_g")
        name = name.replace(".parametrizations.weight.original1", ".weight_v")
        renamed[name] = tensor
    return renamed


def read_dialect(content: object, path: Path) -> Voice:
    """Turn the loaded content of a voice file into a Voice; `path` is for the errors.

    Raises VoiceError with what the file is when it is no voice, or one that is not supported.
    Tensors are taken as they are; see `check_weights`.
    """
    name = path.name
    if not isinstance(content, dict):
        raise _not_a_voice(name, f"holds a {type(content).__name__}")
    keys = {str(key) for key in content}
    if "weight" not in keys:
        raise _other_checkpoint(path, content)
    content = {
        key: value
        for key, value in content.items()
        if key in ("weight", "config") or isinstance(value, str | int | float)
    }
    refuse_foreign_kind(content, name)
    weights = _tensors_of(content["weight"], name)
    for prefix, kind in _FOREIGN_TENSORS.items():
        if any(key.startswith(prefix) for key in weights):
            raise VoiceError(f"{name} is a voice {kind}, which is not supported.", _HINT_FOREIGN)
    weights = {key: tensor for key, tensor in weights.items() if "enc_q" not in key}
    warnings: list[str] = []
    config = _config_of(content, weights, name, warnings)
    metadata = VoiceMetadata.from_keys(content)
    return Voice(config, weights, metadata, _dialect(keys), tuple(warnings))


def refuse_foreign_kind(content: Mapping[str, Any], name: str) -> None:
    """Raise VoiceError, in the file's own words, for a vocoder or architecture not RVC's."""
    vocoder = content.get("vocoder")
    plain = re.sub(r"[^a-z0-9]", "", str(vocoder or "").lower())
    if plain not in _SUPPORTED_VOCODERS:
        raise VoiceError(
            f"{name} is a voice with the vocoder {str(vocoder)[:60]}, which is not supported.",
            _HINT_FOREIGN,
        )
    if content.get("energy"):
        raise VoiceError(
            f"{name} is a voice with energy as an input, which is not supported.", _HINT_FOREIGN
        )
    architecture = content.get("architecture")
    if architecture and str(architecture).upper() != "RVC":
        raise VoiceError(
            f"{name} is a voice of the {str(architecture)[:60]} architecture, which is not "
            "supported.",
            _HINT_FOREIGN,
        )


def check_weights(voice: Voice, name: str) -> Voice:
    """Hold the tensors against the description before anything is built; return it with warnings.

    Raises VoiceError naming a missing, misshapen or non-finite tensor.
    """
    with torch.device("meta"):
        expected = Synthesizer(voice.config, with_posterior=False).state_dict()
    hint = "The file is damaged, or its config belongs to another model: export it again."
    if missing := expected.keys() - voice.weights.keys():
        raise VoiceError(
            f"{name} lacks {len(missing)} of {len(expected)} tensors, for example {min(missing)}.",
            hint,
        )
    for key, tensor in expected.items():
        found = voice.weights[key]
        if found.shape != tensor.shape:
            raise VoiceError(
                f"In {name} the tensor {key} is {list(found.shape)}; by the config it should be "
                f"{list(tensor.shape)}.",
                hint,
            )
        if not torch.isfinite(found).all():
            raise VoiceError(
                f"In {name} the tensor {key} holds values that are not numbers (NaN or infinite).",
                "The training broke down, or the file is damaged: take an earlier one.",
            )
    warnings = voice.warnings
    if unknown := voice.weights.keys() - expected.keys():
        warnings += (
            f"{len(unknown)} tensors are not part of an RVC voice and were left out, for example "
            f"{min(unknown)}.",
        )
    weights = {key: voice.weights[key] for key in expected}
    return replace(voice, weights=weights, warnings=warnings)


def config_of_weights(
    weights: Mapping[str, Tensor], sample_rate: int | None = None
) -> SynthesizerConfig:
    """Work out the description of a generator checkpoint, which has none, from its tensors' shapes.

    `sample_rate` is only needed when the upsampling layers are not those of a published model.
    Raises VoiceError when the tensors are not a synthesizer's or the rate stays open.
    """
    try:
        return _described_by_shapes(weights, sample_rate)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise VoiceError(
            f"The checkpoint's tensors are not those of an RVC generator ({error}).",
            "Choose a G_….pth file of RVC-WebUI or Applio.",
        ) from error


def _described_by_shapes(
    weights: Mapping[str, Tensor], sample_rate: int | None
) -> SynthesizerConfig:
    shape = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    hidden, width = shape["enc_p.emb_phone.weight"]
    version = {size: name for name, size in CONTENT_WIDTHS.items()}[width]
    kernels = [shape[f"dec.ups.{i}.weight_v"][2] for i in range(_count(shape, "dec.ups."))]
    stages = _count(shape, "dec.resblocks.") // len(kernels)
    spec = shape["enc_q.pre.weight"][1] if "enc_q.pre.weight" in shape else 1025
    rates, sample_rate = _rates(shape, kernels, spec, sample_rate, version)
    inter = shape["enc_p.proj.weight"][0] // 2
    values = [
        spec, 32, inter, hidden, shape["enc_p.encoder.ffn_layers.0.conv_1.weight"][0],
        hidden // shape["enc_p.encoder.attn_layers.0.emb_rel_k"][2],
        _count(shape, "enc_p.encoder.attn_layers."),
        shape["enc_p.encoder.ffn_layers.0.conv_1.weight"][2], 0, "1",
        [shape[f"dec.resblocks.{i}.convs1.0.weight_v"][2] for i in range(stages)],
        [[1, 3, 5]] * stages, rates, shape["dec.conv_pre.weight"][0], kernels,
        *shape["emb_g.weight"], sample_rate,
    ]  # fmt: skip
    return SynthesizerConfig.from_list(values, version, "enc_p.emb_pitch.weight" in shape)


def _rates(
    shape: dict[str, tuple[int, ...]],
    kernels: list[int],
    spec: int,
    sample_rate: int | None,
    version: str,
) -> tuple[list[int], int]:
    """Find the upsampling rates: of the published model, else from the excitation's layers."""
    for rate in (sample_rate,) if sample_rate else (32000, 40000, 48000, 16000):
        for known in (version, "v1", "v2"):
            if rate not in (16000, 32000, 40000, 48000):
                continue
            standard = SynthesizerConfig.standard(rate, known)
            if list(standard.upsample_kernels) == kernels and standard.spec_channels == spec:
                return list(standard.upsample_rates), rate
    if sample_rate is None or "dec.noise_convs.0.weight" not in shape:
        raise VoiceError(
            f"The checkpoint's upsampling kernels {kernels} are of no published model.",
            "Say which sample rate it has.",
        )
    # Stage i's excitation layer brings prod(rates[i + 1:]) samples to one; its kernel is twice it.
    strides = [max(1, shape[f"dec.noise_convs.{i}.weight"][2] // 2) for i in range(len(kernels))]
    before = [sample_rate // 100, *strides]
    return [a // b for a, b in zip(before, strides, strict=False)], sample_rate


def _count(shape: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    found = {key.removeprefix(prefix).split(".")[0] for key in shape if key.startswith(prefix)}
    if not found:
        raise KeyError(f"no {prefix}*")
    return len(found)


def _config_of(
    content: Mapping[str, Any], weights: Mapping[str, Tensor], name: str, warnings: list[str]
) -> SynthesizerConfig:
    """Read the list of 18, with the truths that the tensors tell put over what the file says."""
    version = str(content.get("version") or "v1").lower()
    embedding, speakers = weights.get("enc_p.emb_phone.weight"), weights.get("emb_g.weight")
    if embedding is None or speakers is None or embedding.dim() != 2 or speakers.dim() != 2:
        raise _not_a_voice(name, "has no content embedding and speaker table among its tensors")
    widths = {width: known for known, width in CONTENT_WIDTHS.items()}
    true_version = widths.get(embedding.shape[1])
    if true_version is None:
        raise VoiceError(
            f"{name} takes content features {embedding.shape[1]} wide; RVC voices take 256 or 768.",
            "It was made with another kind of encoder and cannot be used here.",
        )
    if true_version != version:
        warnings.append(f"The file says version {version}, its tensors say {true_version}.")
    has_f0 = "enc_p.emb_pitch.weight" in weights
    if has_f0 != _says_f0(content.get("f0", 1)):
        warnings.append(
            f"The file says f0 = {content.get('f0', 1)!r}, its tensors say {int(has_f0)}."
        )
    values = content.get("config")
    if isinstance(values, list | tuple) and len(values) == 18:
        values = [*values[:15], int(speakers.shape[0]), values[16], _rate(values[17])]
    config = SynthesizerConfig.from_list(values, true_version, has_f0)
    said = content.get("sr")
    if said is not None and _rate(said) != config.sample_rate:
        warnings.append(
            f"The file says sr = {str(said)[:20]!r}, its config "
            f"{config.sample_rate} Hz; the config counts."
        )
    return config


def _rate(value: object) -> object:
    """Read "40k", "40000" and 40000 as 40000; anything else stays as it is."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d+)?)\s*(k?)(?:hz)?\s*", value.lower())
        return round(float(match[1]) * (1000 if match[2] else 1)) if match else value
    if isinstance(value, float) and math.isfinite(value):
        return round(value)
    return value


def _says_f0(value: object) -> bool:
    return str(value).strip().lower() not in {"0", "false", "none", ""}


def _tensors_of(weight: object, name: str) -> dict[str, Tensor]:
    if not isinstance(weight, dict) or not weight:
        raise _not_a_voice(
            name, f"has a {type(weight).__name__} as its weight, not a dict of tensors"
        )
    for key, tensor in weight.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise _not_a_voice(
                name,
                f"has a {type(tensor).__name__}, not a tensor, under {str(key)[:60]!r}",
            )
        if tensor.is_sparse or tensor.is_quantized or not tensor.is_floating_point():
            raise _not_a_voice(name, f"has {tensor.dtype} in {key[:80]}, not floating point")
    return plain_names(weight)


def _dialect(keys: set[str]) -> str:
    if "made_with" in keys:
        return "rvc_colab"
    if keys & {"energy", "architecture"}:
        return "Advanced-RVC"
    if keys & _APPLIO_KEYS:
        return "Applio"
    return "RVC-WebUI" if {"version", "f0"} <= keys else "RVC-WebUI, old export"


def _not_a_voice(name: str, found: str) -> VoiceError:
    return VoiceError(
        f"{name} is not an RVC voice: it {found}.",
        "Choose the small .pth file (about 55 MB) that the program exported as the voice.",
    )


def _other_checkpoint(path: Path, content: Mapping[Any, Any]) -> VoiceError:
    """Say what a dict without `weight` is."""
    name = path.name
    model = content.get("model")
    if isinstance(model, dict):
        names = " ".join(str(key) for key in list(model)[:4000])
        if "discriminators." in names:
            return VoiceError(
                f"{name} is a discriminator checkpoint of a training run (D_), not a voice.",
                "The voice is in the G_ file beside it, or among the exported voices.",
            )
        if "enc_p." in names:
            return VoiceError(
                f"{name} is a generator checkpoint of a training run (G_), not an exported voice.",
                f"Make a voice of it: rvc-colab voices import {shlex.quote(str(path))} --name NAME",
            )
    if any(str(key).startswith(("unet.", "fc.", "encoder.layers.")) for key in content):
        return _not_a_voice(name, "holds the weights of another network (a pitch or content model)")
    listed = ", ".join(sorted(str(key)[:30] for key in content)[:6]) or "nothing"
    return _not_a_voice(name, f"has no key 'weight' (found: {listed})")
