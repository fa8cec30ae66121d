"""Start from published weights: what fits by name and shape is taken, and the rest is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import AssetError, ConfigError
from rvc_colab.store.checkpoint import read_training_checkpoint
from rvc_colab.training.networks import Networks, build_networks, synthesizer_config

_log = logging.getLogger(__name__)

FROM_SCRATCH = (
    "This voice is trained from scratch: that takes many hours of steps more than starting from "
    "published weights, and more recordings."
)


@dataclass(frozen=True)
class Taken:
    """What a network took from a file, tensor by tensor."""

    file: str
    taken: int
    total: int
    missing: tuple[str, ...] = ()  # the file has none
    other_shape: tuple[str, ...] = ()  # the file's has another shape

    def in_words(self) -> str:
        """Say what was and was not taken."""
        text = f"{self.taken} of {self.total} tensors taken from {self.file}"
        for names, why in (
            (self.missing, "not in the file"),
            (self.other_shape, "of another shape there"),
        ):
            if names:
                text += (
                    f"; {len(names)} {why} ({', '.join(names[:3])}{'…' if len(names) > 3 else ''})"
                )
        return text + "."


def take_fitting(network: nn.Module, tensors: dict[str, Tensor], file: str) -> Taken:
    """Copy every tensor whose name and shape fit into the network.

    A speaker table of another length gives the rows that both have.
    """
    own, missing, other = network.state_dict(), [], []
    taken = 0
    for name, tensor in own.items():
        if name not in tensors:
            missing.append(name)
        elif tensors[name].shape == tensor.shape:
            tensor.copy_(tensors[name])
            taken += 1
        elif name == "emb_g.weight" and tensors[name].shape[1:] == tensor.shape[1:]:
            rows = min(len(tensor), len(tensors[name]))
            tensor[:rows].copy_(tensors[name][:rows])
            taken += 1
        else:
            other.append(name)
    return Taken(file, taken, len(own), tuple(missing), tuple(other))


@torch.no_grad()
def start_from(
    networks: Networks, config: TrainingConfig, cache: Path
) -> tuple[list[str], list[str]]:
    """Load the weights that the settings ask for: (what was done, warnings), in words.

    `auto` takes the published pair of this rate and version where the model has the published
    sizes and the files can be had; else it trains from scratch and says so. Raises AssetError or
    ConfigError when weights were asked for by path and cannot be used.
    """
    files, why_not = _files(config, cache)
    if files is None:
        warning = f"{FROM_SCRATCH} {why_not}".strip()
        if config.pretrained != "none":
            _log.warning("%s", warning)
        return [], [warning]
    done, warnings = [], []
    for network, path in ((networks.generator, files[0]), (networks.discriminator, files[1])):
        if path is None:
            warnings.append(
                "The discriminator starts from scratch: no D file lies beside the G file."
            )
            continue
        report = take_fitting(network, read_training_checkpoint(path).weights, path.name)
        if report.taken < report.total:
            warnings.append(report.in_words())
        if report.taken < report.total // 2:
            raise ConfigError(
                f"{path.name} does not fit this model: only {report.in_words()}",
                "Check sample rate, version and f0, or use --pretrained none.",
            )
        done.append(report.in_words())
    return done, warnings


def check_named(config: TrainingConfig, cache: Path) -> None:
    """Refuse weights named by path that cannot be used, before the long work begins.

    Raises AssetError or ConfigError, as `start_from` would hours later.
    """
    if config.pretrained not in {"auto", "none"}:
        with torch.device("meta"):  # names and shapes only
            networks = build_networks(config)
        start_from(networks, config, cache)


def _files(config: TrainingConfig, cache: Path) -> tuple[tuple[Path, Path | None] | None, str]:
    if config.pretrained == "none":
        return None, ""
    if config.pretrained != "auto":
        path = Path(config.pretrained).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"There is no file {path} to start from.", "Name a G file, or auto, or none."
            )
        return (path, _beside(path)), ""
    if not _published_size(config):
        return None, "There are no published weights of this size."
    from rvc_colab.store import assets

    try:
        names = assets.pretrained_names(str(config.version), config.sample_rate, config.use_f0)
        paths = [assets.fetch(name, cache) for name in names]
    except AssetError as error:
        return None, f"{error.message} {error.hint}"
    return (paths[0], paths[1]), ""


def _beside(path: Path) -> Path | None:
    """Find the D file of a G file: the same name with its last G turned into D."""
    at = path.name.rfind("G")
    other = path.with_name(path.name[:at] + "D" + path.name[at + 1 :]) if at >= 0 else path
    return other if other != path and other.is_file() else None


def _published_size(config: TrainingConfig) -> bool:
    if config.sample_rate == 16000:
        return False
    published: dict[str, Any] = {
        "hidden_channels": 192, "filter_channels": 768, "encoder_layers": 6,
        "upsample_initial_channels": 512, "gin_channels": 256, "discriminator_scale": 1.0,
    }  # fmt: skip
    synthesizer_config(config)
    return all(getattr(config, name) == value for name, value in published.items())
