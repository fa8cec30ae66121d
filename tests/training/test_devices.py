"""One device or two, and a sentence where two cannot be had."""

import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training.devices import training_devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data_gpu": "cpu", "model_gpu": "cpu"}, "both cpu"),
        ({"data_gpu": "99", "model_gpu": "cpu"}, "--data-gpu 99"),
        ({"data_gpu": "cpu"}, "--model-gpu is not given"),
    ],
)
def test_a_missing_or_equal_device_is_said(
    tiny_config: TrainingConfig, given: dict[str, str], words: str
) -> None:
    devices = training_devices(tiny_config.model_copy(update=given))
    assert (devices.model, devices.data) == (CPU, CPU) and not devices.apart
    assert words in devices.note and "buffered" in devices.note


def test_two_devices_are_taken_where_they_are(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config.model_copy(update={"data_gpu": "cpu", "model_gpu": "meta"})
    assert training_devices(config).apart
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "several processes" in training_devices(config).note


def test_without_the_options_nothing_is_said(tiny_config: TrainingConfig) -> None:
    assert training_devices(tiny_config).note == ""
