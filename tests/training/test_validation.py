"""Held-out recordings: what is measured, what is best, when it is enough."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training import recipe
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.networks import build_networks
from rvc_colab.training.snapshots import Snapshots, read_snapshot
from rvc_colab.training.state import Position
from rvc_colab.training.validation import (
    PATIENCE,
    Measures,
    Validator,
    correlation,
    judge,
    next_after,
    overtrained,
    split_recordings,
)
from rvc_colab.workspace import Workspace


def settings(config: TrainingConfig, **changes: object) -> TrainingConfig:
    return config.model_copy(update=changes)


@pytest.fixture
def validator(tiny_config: TrainingConfig, tone) -> Validator:  # type: ignore[no-untyped-def]
    content = np.random.default_rng(0).standard_normal((50, 256)).astype(np.float16)
    clip = Clip(tone(1.0), content, np.full(100, 200.0, np.float32))
    networks = build_networks(tiny_config)
    return Validator(ClipStore([clip], networks.spectrogram), 1, lambda: gliding)


def gliding(wave: np.ndarray) -> np.ndarray:
    return np.linspace(100, 300, len(wave) // 160).astype(np.float32)


def test_the_same_voice_measures_the_same_and_draws_nothing(
    validator: Validator, tiny_config: TrainingConfig
) -> None:
    model = build_networks(tiny_config).generator.train()
    before = torch.get_rng_state()
    first, second = validator.measure(model), validator.measure(model)
    assert first == second and math.isfinite(first.score) and first.mel > 0
    assert torch.equal(before, torch.get_rng_state()) and model.training


def test_without_a_trained_posterior_no_divergence_is_measured(
    validator: Validator, tiny_config: TrainingConfig
) -> None:
    model = build_networks(tiny_config).generator
    with_posterior = validator.measure(model)
    validator.from_prior = True
    alone = validator.measure(model)
    assert alone.kl is None and "validation/kl" not in alone.numbers()
    assert alone.mel == with_posterior.mel and alone.score < with_posterior.score


def test_pitch_in_tune_correlates_and_pitch_that_stands_still_says_nothing() -> None:
    glide = np.linspace(100.0, 300.0, 200)
    assert correlation([(glide, glide * 1.01)]) == pytest.approx(1.0, abs=1e-6)
    assert correlation([(glide, glide[::-1])]) == pytest.approx(-1.0, abs=0.1)
    assert correlation([(np.full(200, 200.0), glide)]) is None
    assert correlation([(glide[:10], glide[:10])]) is None
    assert correlation([]) is None


def test_a_lower_mel_distance_is_a_better_score() -> None:
    assert Measures(0.5, 1.0, 0.9).score < Measures(0.6, 1.0, 0.9).score
    assert Measures(0.5, 1.0, 0.9).score < Measures(0.5, 1.0, 0.5).score


def follow(scores: list[float]) -> Position:
    position = Position()
    for score in scores:
        position.step += 10
        judge(position, score)
    return position


def test_the_best_step_is_that_of_the_lowest_smoothed_score() -> None:
    falling = follow([1.0, 0.9, 0.8, 0.7])
    assert falling.best_step == 40 and not overtrained(falling)
    one_lucky = follow([1.0, 0.99, 0.98, 1.2, 1.2])
    assert one_lucky.best_step == 30


def test_a_rise_for_long_is_overtraining_and_a_short_one_is_not() -> None:
    down = [1.0, 0.9, 0.8]
    assert not overtrained(follow([*down, *[1.0] * (PATIENCE - 1)]))
    assert overtrained(follow([*down, *[1.0] * (PATIENCE + 1)]))
    assert not overtrained(follow([*down, *[0.8] * 30]))


def test_a_score_that_is_no_number_is_no_best() -> None:
    position = follow([float("nan"), 0.5, float("inf")])
    assert (position.best_step, position.smoothed_score) == (20, 0.5)


def test_measuring_takes_at_most_a_tenth_of_the_time() -> None:
    assert next_after(30.0, 1.0) == pytest.approx(300.0)
    assert next_after(0.1, 1.0) == 60.0 and next_after(5.0, 0.0) == 0.0


def test_recordings_kept_apart_are_not_trained_on(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    dataset = recipe.preprocess("anna", recordings, tiny_config, workspace)
    trained, kept = split_recordings(dataset, settings(tiny_config, validation_recordings=1))
    assert len(trained) == 2 and len(kept) == 1
    assert not {item.path for item in trained} & {item.path for item in kept}


@pytest.mark.usefixtures("stand_ins")
def test_a_measured_run_trains_as_one_that_is_not_interrupted_and_keeps_its_best(
    tiny_config: TrainingConfig,
    recordings: Path,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recipe, "open_f0", lambda *arguments: gliding)
    config = settings(tiny_config, validation_recordings=1, validation_minutes=0, max_steps=6)
    recipe.train("straight", recordings, config, workspace)
    recipe.train("halves", recordings, settings(config, max_steps=3), workspace)
    recipe.fit("halves", config, workspace)
    folders = [workspace.run(name) / "snapshots" for name in ("straight", "halves")]
    one, two = (read_snapshot(folder / "step-00000006").tensors for folder in folders)
    assert all(torch.equal(one["generator"][n], two["generator"][n]) for n in one["generator"])
    lines = (workspace.run("straight") / "history.jsonl").read_text().splitlines()
    measured = [json.loads(line) for line in lines if "validation/mel" in line]
    assert len(measured) >= 2 and "validation/smoothed" in measured[-1]
    snapshot = Snapshots(folders[0]).read_newest()
    assert snapshot is not None
    assert snapshot.state["position"]["best_step"] in Snapshots(folders[0]).steps()


@pytest.mark.usefixtures("stand_ins")
def test_early_stop_ends_a_run_that_overtrains(
    tiny_config: TrainingConfig,
    recordings: Path,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = iter([0.5, *[1.0] * 50])
    monkeypatch.setattr(Validator, "measure", lambda self, model: Measures(next(scores), 0.0))
    config = settings(
        tiny_config, validation_recordings=1, validation_minutes=0, max_steps=90, early_stop=True
    )
    result = recipe.train("anna", recordings, config, workspace)
    assert "overtraining" in result.report["ended"]
    assert result.report["position"]["worse"] == PATIENCE
    assert any("overtrains" in line for line in result.warnings)
