"""HuBERT weights under their published names: fairseq's and transformers', brought to the latter.

Shapes tell most of the configuration, so a bare weights file is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from rvc_colab.errors import EncoderError

Tensors = dict[str, torch.Tensor]

_HEAD_WIDTH = 64  # of every published HuBERT: 12 heads at 768, 16 at 1024
_STRIDES = (
    5,
    2,
    2,
    2,
    2,
    2,
    2,
)  # their product is CONTENT_HOP; kernels can be read, strides cannot
_WRAPPERS = ("module.", "w2v_encoder.w2v_model.", "w2v_model.", "hubert.", "encoder_model.")

# fairseq's names (regular expression) → transformers'. Order matters.
_FAIRSEQ = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (
        r"^feature_extractor\.conv_layers\.(\d+)\.2\.1\.",
        r"feature_extractor.conv_layers.\1.layer_norm.",
    ),
    (
        r"^feature_extractor\.conv_layers\.(\d+)\.2\.",
        r"feature_extractor.conv_layers.\1.layer_norm.",
    ),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"^(encoder\.layers\.\d+)\.self_attn\.", r"\1.attention."),
    (r"^(encoder\.layers\.\d+)\.self_attn_layer_norm\.", r"\1.layer_norm."),
    (r"^(encoder\.layers\.\d+)\.fc1\.", r"\1.feed_forward.intermediate_dense."),
    (r"^(encoder\.layers\.\d+)\.fc2\.", r"\1.feed_forward.output_dense."),
)
_WEIGHT_NORM = (
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
)
_POSITION = "encoder.pos_conv_embed.conv"
_PROJECTION = "feature_projection.projection.weight"


def transformers_names(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Rename HuBERT weights of either layout to the names that transformers has today."""
    fairseq = any(name.endswith("post_extract_proj.weight") for name in tensors)
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        for wrapper in _WRAPPERS:
            name = name.removeprefix(wrapper)
        if fairseq:
            for old, new in _FAIRSEQ:
                name = re.sub(old, new, name)
        for old, new in _WEIGHT_NORM:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        renamed[name] = tensor
    return renamed


def hubert_configuration(tensors: Tensors) -> dict[str, Any]:
    """Read a HubertConfig's fields from the shapes of the weights (transformers' names)."""
    convolutions = _numbered(tensors, r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight")
    layers = _numbered(tensors, r"encoder\.layers\.(\d+)\.attention\.k_proj\.weight")
    position = tensors.get(f"{_POSITION}.parametrizations.weight.original1")
    if not convolutions or not layers or position is None or _PROJECTION not in tensors:
        some = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise EncoderError(
            f"These weights are not a HuBERT content encoder ({len(tensors)} tensors: {some}…).",
            "Use hubert_base.pt or a transformers folder of ContentVec or HuBERT.",
        )
    hidden = tensors[_PROJECTION].shape[0]
    per_layer_norm = "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
    configuration: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, hidden // _HEAD_WIDTH),
        "intermediate_size": _intermediate(tensors),
        "conv_dim": [weight.shape[0] for weight in convolutions],
        "conv_kernel": [weight.shape[2] for weight in convolutions],
        "conv_stride": list(_STRIDES[: len(convolutions)]),
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in tensors,
        "num_feat_extract_layers": len(convolutions),
        "feat_extract_norm": "layer" if per_layer_norm else "group",
        "do_stable_layer_norm": per_layer_norm,  # both belong to the “large” recipe
        "feat_proj_layer_norm": "feature_projection.layer_norm.weight" in tensors,
        "num_conv_pos_embeddings": position.shape[2],
        "num_conv_pos_embedding_groups": hidden // position.shape[1],
    }
    if (projection := tensors.get("final_proj.weight")) is not None:
        configuration["classifier_proj_size"] = projection.shape[0]
    return configuration


def _intermediate(tensors: Tensors) -> int:
    weight = tensors.get("encoder.layers.0.feed_forward.intermediate_dense.weight")
    if weight is None:
        raise EncoderError("These HuBERT weights lack the feed-forward part of their first layer.")
    return int(weight.shape[0])


def _numbered(tensors: Tensors, pattern: str) -> list[torch.Tensor]:
    found = {
        int(match[1]): tensors[name] for name in tensors if (match := re.fullmatch(pattern, name))
    }
    return [found[number] for number in sorted(found)]
