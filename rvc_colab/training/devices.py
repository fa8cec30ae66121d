"""Which device trains and which one prepares the batches."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.device import choose_device
from rvc_colab.errors import DeviceError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Devices:
    """The device of the networks, that of the clips and spectrograms, and a note in words.

    In buffered mode both are the same; `note` says why two devices were asked for in vain.
    """

    model: torch.device
    data: torch.device
    note: str = ""

    @property
    def apart(self) -> bool:
        """Tell whether one device prepares what another one trains on."""
        return self.model != self.data


def training_devices(config: TrainingConfig) -> Devices:
    """Choose both devices; where two were asked for and cannot be had, one does everything.

    Raises DeviceError when `config.device` is not there.
    """
    if config.data_gpu is None and config.model_gpu is None:
        device = choose_device(config.device).device
        return Devices(device, device)
    model, missing = _find(config.model_gpu, "--model-gpu")
    data, missing_data = _find(config.data_gpu, "--data-gpu")
    note = missing or missing_data
    if not note and data == model:
        note = f"--data-gpu and --model-gpu are both {model}"
    if not note and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        note = "Each of several processes has one device"
    if not note:
        assert model is not None and data is not None
        return Devices(model, data)
    device = model or choose_device(config.device).device
    note = f"{note}: batches are prepared in the background on {device} (buffered mode)."
    _log.warning("%s", note)
    return Devices(device, device, note)


def _find(name: str | None, option: str) -> tuple[torch.device | None, str]:
    """Return the device of `0`, `cuda:0` or `cpu`, or the reason why there is none."""
    if name is None:
        return None, f"{option} is not given"
    try:
        return choose_device(f"cuda:{name}" if name.isdigit() else name).device, ""
    except DeviceError as error:
        return None, f"{option} {name}: {error.message.rstrip('.')}"
