"""The journey: whole, resumed, stopped, and refused."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import ConfigError, DatasetError, SnapshotError, TrainingError
from rvc_colab.features.retrieval import read_index
from rvc_colab.progress import SilentProgress
from rvc_colab.store.checkpoint import (
    TrainingCheckpoint,
    build_synthesizer,
    read_voice,
    write_training_checkpoint,
)
from rvc_colab.training import recipe
from rvc_colab.training.extract import Extractor
from rvc_colab.training.networks import build_networks
from rvc_colab.training.runs import held_alone
from rvc_colab.training.snapshots import Snapshots, read_snapshot
from rvc_colab.workspace import Workspace

pytestmark = pytest.mark.usefixtures("stand_ins")


def settings(config: TrainingConfig, **changes: object) -> TrainingConfig:
    return config.model_copy(update=changes)


def test_a_folder_becomes_a_voice_and_an_index(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    result = recipe.train("anna", recordings, tiny_config, workspace)
    voice = read_voice(result.voice)
    assert (voice.config.sample_rate, voice.config.version, voice.config.has_f0) == (
        16000,
        "v1",
        True,
    )
    assert (voice.metadata.step, voice.metadata.encoder, voice.metadata.f0_method) == (
        4,
        "stand-in",
        "stand-in",
    )
    assert voice.metadata.dataset_fingerprint == result.report["dataset_fingerprint"]
    build_synthesizer(voice)
    assert result.index is not None and read_index(result.index).width == 256
    assert result.report["ended"] == "finished"


def test_the_journey_leaves_its_diary_and_a_sample(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    recipe.train("anna", recordings, tiny_config, workspace)
    run = workspace.run("anna")
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4 and lines[-1]["mel"] > 0
    assert list((run / "samples").glob("*.flac")) and list((run / "tensorboard").glob("events*"))
    assert json.loads((run / "report.json").read_text())["position"]["step"] == 4


def test_stopping_half_way_and_going_on_equals_going_straight(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    long, short = settings(tiny_config, max_steps=8), settings(tiny_config, max_steps=3)
    recipe.train("straight", recordings, long, workspace)
    recipe.train("halves", recordings, short, workspace)
    torch.manual_seed(99)  # what the process drew in between must not matter
    recipe.fit("halves", long, workspace)
    one, two = (
        read_snapshot(workspace.run(name) / "snapshots" / "step-00000008").tensors
        for name in ("straight", "halves")
    )
    for group in one:
        if group != "random":
            for name, tensor in one[group].items():
                assert torch.equal(tensor, two[group][name]), (group, name)


def test_accumulated_parts_equal_one_batch(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    whole = settings(tiny_config, max_steps=1, batch_size=4)
    parts = settings(tiny_config, max_steps=1, batch_size=2, grad_accumulation=2)
    recipe.train("whole", recordings, whole, workspace)
    recipe.train("parts", recordings, parts, workspace)
    one, two = (
        read_snapshot(workspace.run(name) / "snapshots" / "step-00000001").tensors[
            "generator_optimizer"
        ]
        for name in ("whole", "parts")
    )
    gradients = [name for name in one if name.endswith("exp_avg")]
    worst = max(float((one[n] - two[n]).norm() / (one[n].norm() + 1e-4)) for n in gradients)
    assert worst < 1e-4


class StopAfter(SilentProgress):
    """Ask to stop at the given step, as a person with Ctrl-C would."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self._left, self._number, self._training = step, number, False

    def stage(self, name: str, total: int | None = None) -> None:
        self._training = name == "Training"

    def advance(self, units: int = 1, note: str = "") -> None:
        self._left -= self._training
        if self._training and self._left == 0:
            signal.raise_signal(self._number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_leaves_a_snapshot_and_a_voice(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace, number: int
) -> None:
    result = recipe.train("anna", recordings, tiny_config, workspace, StopAfter(2, number))
    assert "SIG" in result.report["ended"]
    assert read_voice(result.voice).metadata.step == 2
    assert Snapshots(workspace.run("anna") / "snapshots").steps() == [2]


def test_a_run_is_not_continued_with_other_sizes(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    recipe.train("anna", recordings, tiny_config, workspace)
    with pytest.raises(TrainingError, match="model"):
        recipe.train(
            "anna", recordings, settings(tiny_config, hidden_channels=16, max_steps=8), workspace
        )


def test_restart_puts_the_old_run_aside(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    recipe.train("anna", recordings, tiny_config, workspace)
    recipe.train(
        "anna", recordings, settings(tiny_config, hidden_channels=16, restart=True), workspace
    )
    folders = sorted(path.name for path in workspace.run("anna").iterdir() if path.is_dir())
    assert any(name.startswith("snapshots-before-") for name in folders)
    assert read_voice(workspace.weights / "anna.pth").config.hidden_channels == 16


def test_going_on_with_other_recordings_is_said(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    recipe.train("anna", recordings, settings(tiny_config, max_steps=1), workspace)
    (recordings / "0.wav").rename(recordings / "renamed.wav")  # still the same recording
    (recordings / "1.wav").unlink()
    content = bytearray((recordings / "2.wav").read_bytes())
    content[-2] ^= 1
    (recordings / "new.wav").write_bytes(content)
    result = recipe.train("anna", recordings, settings(tiny_config, max_steps=2), workspace)
    told = [line for line in result.warnings if "sitting" in line]
    assert len(told) == 2 and result.report["ended"] == "finished"
    assert "1 recordings came since the last sitting (new.wav)" in told[0]
    assert "1 recordings of the last sitting are gone (1.wav)" in told[1]
    again = recipe.train("anna", recordings, settings(tiny_config, max_steps=3), workspace)
    assert not [line for line in again.warnings if "sitting" in line]


def test_weights_that_cannot_be_used_are_refused_before_any_work(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace, tmp_path: Path
) -> None:
    other = build_networks(settings(tiny_config, hidden_channels=16, upsample_initial_channels=32))
    checkpoint = TrainingCheckpoint(other.generator.state_dict(), "generator")
    write_training_checkpoint(tmp_path / "G.pth", checkpoint)
    for path, words in ((tmp_path / "none.pth", "no file"), (tmp_path / "G.pth", "does not fit")):
        config = settings(tiny_config, pretrained=str(path))
        with pytest.raises(ConfigError, match=words):
            recipe.train("anna", recordings, config, workspace)
        assert not workspace.run("anna").exists()
    recipe.train("anna", recordings, settings(tiny_config, max_steps=1), workspace)
    config = settings(tiny_config, pretrained=str(tmp_path / "moved.pth"), max_steps=2)
    assert recipe.train("anna", recordings, config, workspace).report["ended"] == "finished"


def test_a_run_is_not_trained_twice_at_once(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    with held_alone("anna", workspace):
        for verb in (recipe.train, lambda name, folder, *rest: recipe.fit(name, *rest)):
            with pytest.raises(TrainingError, match=f"by process {os.getpid()}"):
                verb("anna", recordings, tiny_config, workspace)
        assert not workspace.run("anna").exists()
    recipe.train("anna", recordings, settings(tiny_config, max_steps=1), workspace)


def test_training_from_scratch_is_said(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    result = recipe.train("anna", recordings, settings(tiny_config, max_steps=1), workspace)
    assert any("from scratch" in warning for warning in result.warnings)


def test_without_a_pitch_there_is_a_voice_too(
    tiny_config: TrainingConfig,
    recordings: Path,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    extractor: Extractor,
) -> None:
    deaf = Extractor.of(extractor.encoder, "v1", None)
    monkeypatch.setattr("rvc_colab.training.recipe.open_extractor", lambda config, space: deaf)
    result = recipe.train(
        "anna", recordings, settings(tiny_config, use_f0=False, max_steps=1), workspace
    )
    assert not read_voice(result.voice).config.has_f0


def test_steps_out_of_order_say_what_comes_first(
    tiny_config: TrainingConfig, workspace: Workspace
) -> None:
    with pytest.raises(DatasetError) as refused:
        recipe.fit("nobody", tiny_config, workspace)
    assert "rvc-colab preprocess nobody" in refused.value.hint
    with pytest.raises(SnapshotError) as refused_export:
        recipe.export("nobody", tiny_config, workspace)
    assert "rvc-colab fit nobody" in refused_export.value.hint


def test_other_settings_than_those_prepared_for_are_refused(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    recipe.preprocess("anna", recordings, tiny_config, workspace)
    with pytest.raises(DatasetError, match="1 s"):
        recipe.extract("anna", settings(tiny_config, slice_seconds=2.0), workspace)
