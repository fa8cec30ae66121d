"""Settings: sources, bounds, the names people know."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvc_colab import config, settings
from rvc_colab.config import ConversionConfig, GpuConfig, Precision, TrainingConfig
from rvc_colab.errors import ConfigError


def test_the_command_line_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("conversion:\n  transpose: 1\n  protect: 0.1\n  index_rate: 0.1\n")
    env = {"RVC_PROTECT": "0.2", "RVC_INDEX_RATE": "0.2"}
    read = settings.load(ConversionConfig, {"index_rate": 0.3}, file, env)
    assert (read.envelope_mix, read.transpose, read.protect, read.index_rate) == (0.25, 1, 0.2, 0.3)


def test_a_json_file_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"gpu": {"cleanup_threshold_percent": 70}}')
    assert settings.load(GpuConfig, file=file, env={}).cleanup_threshold_percent == 70


@pytest.mark.parametrize(
    ("variable", "text", "model", "field", "value"),
    [
        ("RVC_GPU_RETRIEVAL", "0", ConversionConfig, "gpu_retrieval", False),
        ("RVC_GPU_FILTER", "1", ConversionConfig, "gpu_filter", True),
        ("RVC_USE_FP16", "1", ConversionConfig, "precision", Precision.FP16),
        ("RVC_USE_FP16", "0", ConversionConfig, "precision", Precision.FP32),
        ("URVC_FP16_INFERENCE", "true", ConversionConfig, "precision", Precision.FP16),
        ("RVC_BATCH_SIZE", "6", TrainingConfig, "batch_size", 6),
        ("RVC_PROFILING", "1", ConversionConfig, "profiling", True),
        ("RVC_PROFILING", "1", TrainingConfig, "profiling", True),
        ("RVC_MIXED_PRECISION", "bf16", TrainingConfig, "mixed_precision", Precision.BF16),
        ("URVC_GRAD_ACCUMULATION", "4", TrainingConfig, "grad_accumulation", 4),
        ("RVC_DEVICE", "cpu", ConversionConfig, "device", "cpu"),
    ],
)
def test_the_names_people_know_keep_working(
    variable: str, text: str, model: type, field: str, value: object
) -> None:
    assert getattr(settings.load(model, env={variable: text}), field) == value


@pytest.mark.parametrize(
    ("model", "field", "value", "bound"),
    [
        (ConversionConfig, "index_rate", 1.5, "0 to 1"),
        (ConversionConfig, "protect", 0.51, "0 to 0.5"),
        (ConversionConfig, "transpose", -40, "-36 to 36 semitones"),
        (ConversionConfig, "transpose", float("nan"), "-36 to 36 semitones"),
        (TrainingConfig, "batch_size", 0, "1 to 1024 slices"),
        (TrainingConfig, "learning_rate", 0, "above 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_bound(
    model: type, field: str, value: float, bound: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        settings.load(model, {field: value}, env={})
    assert field in refused.value.message and bound in refused.value.hint


def test_a_refused_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="RVC_INDEX_RATE"):
        settings.load(ConversionConfig, env={"RVC_INDEX_RATE": "7"})


def test_a_misspelled_setting_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as refused:
        settings.load(ConversionConfig, {"index_ratio": 1}, env={})
    assert "index_rate" in refused.value.hint


@pytest.mark.parametrize(
    "text", ["conversion: [1]", "convert:\n  transpose: 1", "a: b: c", "[1, 2]"]
)
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"settings\.yaml"):
        settings.load(ConversionConfig, file=file, env={})


@pytest.mark.parametrize("section", config.SECTIONS)
def test_every_choice_has_help(section: str) -> None:
    for name, info in config.SECTIONS[section].model_fields.items():
        assert info.description and info.description.endswith("."), name


def test_a_switch_that_is_neither_yes_nor_no_is_refused_with_a_next_step() -> None:
    with pytest.raises(ConfigError, match="RVC_USE_FP16='maybe'") as error:
        settings.load(ConversionConfig, env={"RVC_USE_FP16": "maybe"})
    assert error.value.hint


def test_large_bounds_are_written_out() -> None:
    with pytest.raises(ConfigError) as error:
        settings.load(ConversionConfig, {"seed": -1}, env={})
    assert "0 to 4294967295" in error.value.hint
