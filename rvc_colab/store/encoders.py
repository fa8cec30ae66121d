"""Read content encoders from disk: by name through the cache, or from a path a person gives.

A path is a transformers folder (config.json with model.safetensors or pytorch_model.bin), or one
weights file: fairseq's hubert_base.pt, or a .safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.errors import EncoderError
from rvc_colab.features.encoder_names import canonical_encoder, is_known_encoder
from rvc_colab.features.file_kinds import HEAD_BYTES, accident

if TYPE_CHECKING:
    import torch

    from rvc_colab.features.content import ContentEncoder, EncoderWeights

_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


def open_content_encoder(
    name_or_path: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    cache: Path | None = None,
    offline: bool | None = None,
) -> ContentEncoder:
    """Load a content encoder by name (fetched into `cache` when it is not there) or by path.

    Raises AssetError when it must be fetched and cannot be, EncoderError when it is no encoder.
    """
    import torch

    from rvc_colab.features.content import load_content_encoder

    def read(name: str) -> EncoderWeights:
        return read_encoder(name, cache=cache, offline=offline)

    return load_content_encoder(name_or_path, device, dtype or torch.float32, read)


def read_encoder(
    name_or_path: str, *, cache: Path | None = None, offline: bool | None = None
) -> EncoderWeights:
    """Read the tensors of an encoder by name or path; known names are fetched into `cache`."""
    from rvc_colab.features.content import EncoderWeights

    name = canonical_encoder(name_or_path)
    if is_known_encoder(name):
        from rvc_colab.store.assets import fetch

        path = fetch(name, cache, offline=offline)
    else:
        path = Path(name_or_path).expanduser()
        if not path.exists():
            raise EncoderError(
                f"There is no content encoder {name_or_path}.",
                "Give one of contentvec, spin, hubert_base…, or the path of a folder or file.",
            )
    folder = path if path.is_dir() else path.parent
    file = _weights_file(path)
    own_folder = path.is_dir() or file.name in _WEIGHTS_FILES
    return EncoderWeights(name, _read_tensors(file), _configuration(folder) if own_folder else None)


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    for name in _WEIGHTS_FILES:
        if (path / name).is_file():
            return path / name
    raise EncoderError(
        f"The folder {path} holds no content encoder: neither {' nor '.join(_WEIGHTS_FILES)}.",
        "Give the folder that holds config.json and the weights.",
    )


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix != ".safetensors":
        from rvc_colab.store.foreign_pickle import read_foreign_tensors

        return read_foreign_tensors(file)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with file.open("rb") as handle:
        kind = accident(handle.read(HEAD_BYTES))
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"{file.name} is {kind or f'no whole safetensors file: {error}'}.", "Download it again."
        ) from error


def _configuration(folder: Path) -> dict[str, Any] | None:
    file = folder / "config.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{file} cannot be read: {error}.", "Download it again.") from error
    if not isinstance(content, dict) or content.get("model_type", "hubert") != "hubert":
        kind = content.get("model_type") if isinstance(content, dict) else "something else"
        raise EncoderError(
            f"{file} describes {kind}, not HuBERT.",
            "Only HuBERT and ContentVec are content encoders here.",
        )
    return content
