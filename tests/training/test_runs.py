"""Runs: stored settings, what may change, the list, the choice of a snapshot, cleaning."""

import json
import os
from pathlib import Path

import pytest
import torch

from rvc_colab.cli import main
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import SnapshotError, TrainingError
from rvc_colab.training import recipe
from rvc_colab.training.runs import (
    begin_run,
    choose_snapshot,
    clean_run,
    end_run,
    list_runs,
    read_run,
    stored_run,
)
from rvc_colab.training.snapshots import Snapshot, Snapshots
from rvc_colab.workspace import Workspace


def settings(config: TrainingConfig, **changes: object) -> TrainingConfig:
    return config.model_copy(update=changes)


def write(workspace: Workspace, name: str, **position: object) -> Snapshots:
    snapshots = Snapshots(workspace.run(name) / "snapshots", keep=9)
    tensors = {"generator": {"weight": torch.zeros(2)}}
    snapshots.write(Snapshot(tensors, {"step": position["step"], "position": position}))
    return snapshots


@pytest.fixture
def run(workspace: Workspace, tiny_config: TrainingConfig, tmp_path: Path) -> Snapshots:
    """A run with snapshots of epochs 1 and 2, the first being the best."""
    begin_run("anna", tmp_path, tiny_config, workspace)
    write(workspace, "anna", step=5, epoch=1, best_step=5)
    return write(workspace, "anna", step=9, epoch=2, best_step=5, best_score=0.5, best_epoch=1)


def test_the_settings_come_back_as_they_were(
    run: Snapshots, workspace: Workspace, tiny_config: TrainingConfig
) -> None:
    assert stored_run("anna", workspace).config() == tiny_config
    assert stored_run("anna", workspace).config({"epochs": 7}).epochs == 7


def test_a_setting_that_cannot_follow_is_refused_in_words(
    run: Snapshots, workspace: Workspace, tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="sample_rate = 16000, now it is 48000") as refused:
        begin_run("anna", tmp_path, settings(tiny_config, sample_rate=48000), workspace)
    assert "--restart" in refused.value.hint
    begin_run("anna", tmp_path, settings(tiny_config, epochs=9), workspace)
    begin_run("anna", tmp_path, settings(tiny_config, sample_rate=48000, restart=True), workspace)


def test_the_list_says_how_each_run_stands(run: Snapshots, workspace: Workspace) -> None:
    end_run("anna", "finished", workspace)
    (only,) = list_runs(workspace)
    assert (only.name, only.state, only.epoch, only.step) == ("anna", "finished", 2, 9)
    assert (only.best_score, only.best_epoch, only.snapshots) == (0.5, 1, 2) and only.bytes > 0


def test_a_run_whose_process_is_gone_was_interrupted(run: Snapshots, workspace: Workspace) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    path = workspace.run("anna") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"process": child}))
    assert list_runs(workspace)[0].state == "interrupted"


def test_a_snapshot_is_chosen_by_epoch_or_as_the_best(run: Snapshots) -> None:
    assert choose_snapshot("anna", run).step == 9
    assert choose_snapshot("anna", run, 1).step == 5
    assert choose_snapshot("anna", run, "best").step == 5


def test_an_epoch_that_is_not_kept_is_refused_with_those_that_are(run: Snapshots) -> None:
    with pytest.raises(SnapshotError, match="epoch 1, 2"):
        choose_snapshot("anna", run, 7)


def test_without_measurements_none_is_the_best(workspace: Workspace) -> None:
    snapshots = write(workspace, "bert", step=1, epoch=0)
    with pytest.raises(SnapshotError, match="no recordings were kept apart"):
        choose_snapshot("bert", snapshots, "best")


def test_cleaning_keeps_what_a_run_needs_to_go_on(run: Snapshots, workspace: Workspace) -> None:
    folder = workspace.run("anna")
    (folder / "snapshots-before-1").mkdir()
    (folder / "snapshots-before-1" / "old").write_bytes(b"0" * 1000)
    end_run("anna", "finished", workspace)
    assert clean_run("anna", workspace).bytes == 1000
    assert run.steps() == [5, 9] and not list(folder.glob("snapshots-before-*"))
    clean_run("anna", workspace, everything=True)
    assert not folder.exists()


def test_a_run_that_is_being_trained_is_not_cleaned(run: Snapshots, workspace: Workspace) -> None:
    with pytest.raises(TrainingError, match="being trained"):
        clean_run("anna", workspace, everything=True)


def test_a_run_that_is_not_there_is_said_with_those_that_are(
    run: Snapshots, workspace: Workspace
) -> None:
    with pytest.raises(TrainingError) as refused:
        stored_run("otto", workspace)
    assert "anna" in refused.value.hint


@pytest.mark.usefixtures("stand_ins")
def test_the_commands_list_resume_export_and_clean_a_run(
    tiny_config: TrainingConfig,
    recordings: Path,
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = ["--workspace", str(workspace.root), "--json"]

    def said(*words: str) -> dict:  # type: ignore[type-arg]
        assert main([*words, *place]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    recipe.train("anna", recordings, tiny_config, workspace)
    (run,) = said("runs")["runs"]
    assert (run["state"], run["step"]) == ("finished", 4)
    assert said("resume", "anna", "--max-steps", "6")["position"]["step"] == 6
    stored = read_run("anna", workspace)
    assert stored is not None and stored.settings["max_steps"] == 6
    (workspace.weights / "anna.pth").unlink()
    made = said("export", "anna", "--epoch", str(run["epoch"]))
    assert Path(made["voice"]).is_file()
    assert main(["export", "anna", "--epoch", "best", *place]) == 2
    assert said("clean", "anna", "--all")["bytes"] > 0
    assert not said("runs")["runs"]


def test_recordings_that_were_only_looked_at_are_no_run_of_unknown_state(
    workspace: Workspace,
) -> None:
    folder = workspace.run("seen")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text("{}", encoding="utf-8")
    assert [(run.name, run.state) for run in list_runs(workspace)] == [("seen", "only looked at")]
