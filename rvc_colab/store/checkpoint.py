"""Voices and training checkpoints on disk, in the published `.pth` layout.

The one place that reads torch files. Only tensors and plain values are taken from them: a pickle
with code in it is refused by torch's restricted reader, and nothing in it runs.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rvc_colab import __version__
from rvc_colab.errors import RVCError, VoiceError
from rvc_colab.features.file_kinds import HEAD_BYTES, accident
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.synthesizer import Synthesizer
from rvc_colab.store.bombs import check_packed, check_tensors
from rvc_colab.store.dialects import check_weights, config_of_weights, plain_names, read_dialect
from rvc_colab.store.voice import VOCODER, Voice, VoiceMetadata, hash_weights, merge_voices
from rvc_colab.workspace import is_text, write_atomically

__all__ = [
    "OF_CHECKPOINT",
    "TrainingCheckpoint",
    "Voice",
    "VoiceMetadata",
    "build_synthesizer",
    "describe_voice",
    "is_generator_checkpoint",
    "load_tensors",
    "merge_voices",
    "read_training_checkpoint",
    "read_voice",
    "save_tensors",
    "voice_of_checkpoint",
    "write_training_checkpoint",
    "write_voice",
]

PathLike = str | os.PathLike[str]

OF_CHECKPOINT = "generator checkpoint"  # the dialect of a voice that was made of a G_ file


def load_tensors(path: PathLike, error: type[RVCError] = VoiceError) -> Any:
    """Load a torch file on the CPU: tensors and plain values only, nothing is executed.

    Tensors are mapped from the file where its layout allows it, so that asking for a few of them
    is fast; copy what is to outlive the file. Raises `error` with what the file is instead.
    """
    target = Path(path)
    head = _head(target, error)
    maps = check_packed(target, error) and head.startswith(b"PK\x03\x04")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the file was pickled: nobody's concern here
            content = torch.load(target, map_location="cpu", weights_only=True, mmap=maps)
    except Exception as problem:  # a damaged or hostile file may raise anything
        raise _explain(target, str(problem), error) from problem
    check_tensors(content, target, error)
    return content


def save_tensors(path: PathLike, content: object) -> None:
    """Write a torch file whole or not at all. Equal content gives equal bytes under any name."""
    with write_atomically(path) as temporary, temporary.open("wb") as handle:
        torch.save(content, handle)


def read_voice(path: PathLike) -> Voice:
    """Read a voice of any known dialect, its tensors checked against its description.

    Raises VoiceError with what the file is when it is not a voice, or not a supported one.
    """
    target = Path(path)
    voice = check_weights(read_dialect(load_tensors(target), target), target.name)
    return replace(voice, weights={key: tensor.clone() for key, tensor in voice.weights.items()})


def describe_voice(path: PathLike) -> Voice:
    """Read everything but the tensors, without touching their bytes: for lists of voices."""
    target = Path(path)
    return replace(read_dialect(load_tensors(target), target), weights={})


def build_synthesizer(voice: Voice) -> Synthesizer:
    """Build the network of a voice in float32 on the CPU, in eval mode, with its own weights."""
    with torch.device("meta"):
        model = Synthesizer(voice.config, with_posterior=False)
    weights = {key: tensor.to(torch.float32, copy=True) for key, tensor in voice.weights.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def write_voice(
    path: PathLike,
    weights: nn.Module | Mapping[str, Tensor],
    config: SynthesizerConfig,
    metadata: VoiceMetadata | None = None,
) -> Path:
    """Write a voice that RVC-WebUI and Applio load, and its provenance in a JSON file beside it.

    The six classic keys come first, then scalars. Weights are stored in 16 bit, without the
    posterior encoder. Raises VoiceError when they do not fit 16 bit, are not finite, or are not
    those of `config`; nothing is written then.
    """
    target = Path(path)
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    small = _in_16_bit(plain_names(state), target.name)
    speakers = small["emb_g.weight"].shape[0] if "emb_g.weight" in small else config.speakers
    config = replace(config, speakers=speakers)
    metadata = metadata or VoiceMetadata()
    checked = check_weights(Voice(config, small, metadata), target.name)
    if checked.warnings:
        raise VoiceError(f"{target.name} cannot be written: {checked.warnings[0]}")
    weights_hash = hash_weights(small)
    metadata = replace(
        metadata,
        speakers_id=metadata.speakers_id or speakers,
        vocoder=VOCODER,
        weights_hash=weights_hash,
        model_hash=weights_hash,
        made_with=f"rvc_colab {__version__}",
    )
    content: OrderedDict[str, Any] = OrderedDict(
        weight=OrderedDict(small),
        config=config.to_list(),
        info=metadata.info or f"{metadata.epoch or 0}epoch",
        sr=f"{config.sample_rate // 1000}k",
        f0=int(config.has_f0),
        version=config.version,
    )
    content.update(metadata.to_keys())
    save_tensors(target, content)
    _write_sidecar(target, content)
    return target


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A G_ or D_ file: the network's float32 state and, where the file has them, the optimizer's.

    `epoch` is the published `iteration`; `learning_rate` the initial one of the run.
    """

    weights: dict[str, Tensor]
    kind: str  # "generator" or "discriminator"
    epoch: int = 0
    learning_rate: float = 1e-4
    optimizer: dict[str, Any] | None = None


def read_training_checkpoint(path: PathLike) -> TrainingCheckpoint:
    """Read a classic G_ or D_ file or a pretrained one, under the published tensor names.

    Raises VoiceError with what the file is instead.
    """
    target = Path(path)
    content = load_tensors(target)
    hint = "Choose a G_ or D_ file, or a pretrained one such as f0G40k.pth."
    if isinstance(content, dict) and "weight" in content and "config" in content:
        raise VoiceError(f"{target.name} is an exported voice, not a training checkpoint.", hint)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(v, Tensor) for v in model.values()):
        raise VoiceError(f"{target.name} is not a training checkpoint: it has no 'model'.", hint)
    weights = plain_names({str(key): tensor.clone() for key, tensor in model.items()})
    if any(key.startswith("enc_p.") for key in weights):
        kind = "generator"
    elif any(key.startswith("discriminators.") for key in weights):
        kind = "discriminator"
    else:
        example = next(iter(weights), "nothing")
        raise VoiceError(
            f"{target.name} is neither G nor D: its tensors begin with {example}.", hint
        )
    optimizer = content.get("optimizer")
    return TrainingCheckpoint(
        weights,
        kind,
        epoch=int(_number(content.get("iteration"), 0)),
        learning_rate=float(_number(content.get("learning_rate"), 1e-4)),
        optimizer=optimizer if isinstance(optimizer, dict) else None,
    )


def write_training_checkpoint(path: PathLike, checkpoint: TrainingCheckpoint) -> Path:
    """Write a G_ or D_ file in the classic layout, so that others can resume or start from it."""
    target = Path(path)
    weights = {key: tensor.detach().cpu().clone() for key, tensor in checkpoint.weights.items()}
    content = {
        "model": plain_names(weights),
        "iteration": checkpoint.epoch,
        "optimizer": checkpoint.optimizer or {},
        "learning_rate": checkpoint.learning_rate,
    }
    save_tensors(target, content)
    return target


def is_generator_checkpoint(path: PathLike) -> bool:
    """Tell whether a file is a G_ file, without touching the bytes of its tensors."""
    try:
        content = load_tensors(path)
    except VoiceError:
        return False
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and any("enc_p." in str(key) for key in model)


def voice_of_checkpoint(path: PathLike, sample_rate: int | None = None) -> Voice:
    """Make a voice of a G_ file; its description is worked out from the shapes of its tensors.

    `sample_rate` in Hz is only needed for models that nobody published. Raises VoiceError.
    """
    target = Path(path)
    checkpoint = read_training_checkpoint(target)
    if checkpoint.kind != "generator":
        raise VoiceError(
            f"{target.name} is a discriminator checkpoint (D_), which holds no voice.",
            "Choose the G_ file beside it.",
        )
    config = config_of_weights(checkpoint.weights, sample_rate)
    weights = {key: value for key, value in checkpoint.weights.items() if "enc_q" not in key}
    metadata = VoiceMetadata(epoch=checkpoint.epoch, info=f"{checkpoint.epoch}epoch")
    return check_weights(Voice(config, weights, metadata, OF_CHECKPOINT), target.name)


def _head(target: Path, error: type[RVCError]) -> bytes:
    """Read the first bytes and refuse what they show to be something else."""
    try:
        if target.is_dir():
            raise error(f"{target} is a folder, not a file.", "Name the .pth file in it.")
        if not is_text(str(target)):  # torch takes none other
            raise error(f"The name {target.name!a} is no text.", "Rename the file.")
        with target.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except FileNotFoundError as problem:
        raise error(f"There is no file {target}.", "Check the path.") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{target} cannot be read: {reason}.", "Check the path.") from problem
    if kind := accident(head) or _other_format(head):
        raise error(f"{target.name} is {kind}, not a torch file.", "Download or export it again.")
    return head


def _other_format(head: bytes) -> str:
    for magic, kind in (
        (b"RIFF", "a WAV sound"),
        (b"fLaC", "a FLAC sound"),
        (b"OggS", "an Ogg sound"),
        (b"ID3", "an MP3 sound"),
        (b"IwFl", "a retrieval index"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"Rar!", "a RAR archive"),
        (b"7z\xbc\xaf", "a 7-Zip archive"),
        (b"\x08\x00\x00\x00TFL3", "a TensorFlow model"),
    ):
        if head.startswith(magic):
            return kind
    return "a safetensors file" if head[8:10] == b'{"' else ""


def _explain(target: Path, problem: str, error: type[RVCError]) -> RVCError:
    """Turn what torch's reader said into what the file is."""
    if found := re.search(r"GLOBAL\s+([\w.]+)", problem) or re.search(
        r"Trying to (?:load|call|instantiate)[^`'\"]*[`'\"]?([\w.]+)", problem
    ):
        return error(
            f"{target.name} contains code or objects ({found[1][:80]}) besides tensors. "
            "Nothing of it was executed.",
            "Do not trust this file; get the voice from another place.",
        )
    size = target.stat().st_size if target.exists() else 0
    if re.search(r"central directory|zip archive|PytorchStreamReader|not a ZIP", problem, re.I):
        return error(
            f"{target.name} is cut off or damaged ({size:,} bytes).", "Download or copy it again."
        )
    if "Unsupported operand 149" in problem:  # a frame: protocol 4, which torch never writes
        return error(
            f"{target.name} is a Python pickle of another kind, not a torch file. "
            "Nothing of it was executed.",
            "Do not trust this file; get the voice from another place.",
        )
    problem = problem.rpartition("WeightsUnpickler error:")[2]
    first_line = problem.strip().splitlines()[0][:120] if problem.strip() else "unreadable"
    return error(
        f"{target.name} is not a whole torch file ({size:,} bytes): {first_line}.",
        "Download or export it again.",
    )


def _in_16_bit(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Copy the published part of a state dict to float16 on the CPU, refusing what overflows."""
    small = {}
    for key, tensor in state.items():
        if "enc_q" in key:
            continue
        small[key] = tensor.detach().to("cpu", torch.float16, copy=True).contiguous()
        if not torch.isfinite(small[key]).all():
            raise VoiceError(
                f"{name} cannot be written: the tensor {key} holds values that are not finite or "
                "do not fit 16 bit.",
                "The training broke down; export an earlier snapshot.",
            )
    return small


def _write_sidecar(target: Path, content: Mapping[str, Any]) -> None:
    """Write all that the voice file says, but for the tensors, as JSON beside it."""
    told = {key: value for key, value in content.items() if key != "weight"}
    with write_atomically(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _number(value: object, default: float) -> float:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value if plain and value == value else default  # type: ignore[return-value]
