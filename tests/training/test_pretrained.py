"""Starting from published weights: what fits is taken, what does not is told."""

from pathlib import Path

import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import ConfigError
from rvc_colab.store.checkpoint import TrainingCheckpoint, write_training_checkpoint
from rvc_colab.training.networks import build_networks
from rvc_colab.training.pretrained import start_from, take_fitting


def write_pair(folder: Path, config: TrainingConfig) -> Path:
    networks = build_networks(config)
    write_training_checkpoint(
        folder / "f0G16k.pth", TrainingCheckpoint(networks.generator.state_dict(), "generator")
    )
    write_training_checkpoint(
        folder / "f0D16k.pth",
        TrainingCheckpoint(networks.discriminator.state_dict(), "discriminator"),
    )
    return folder / "f0G16k.pth"


def test_a_pair_of_files_is_taken_whole(tiny_config: TrainingConfig, tmp_path: Path) -> None:
    path = write_pair(tmp_path, tiny_config.model_copy(update={"seed": 7}))
    networks = build_networks(tiny_config)
    done, warnings = start_from(
        networks, tiny_config.model_copy(update={"pretrained": str(path)}), tmp_path
    )
    other = build_networks(tiny_config.model_copy(update={"seed": 7}))
    assert not warnings and len(done) == 2
    for ours, theirs in (
        (networks.generator, other.generator),
        (networks.discriminator, other.discriminator),
    ):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_a_speaker_table_of_another_length_gives_its_rows(tiny_config: TrainingConfig) -> None:
    networks = build_networks(tiny_config.model_copy(update={"speakers": 3}))
    other = build_networks(tiny_config.model_copy(update={"speakers": 5, "seed": 7}))
    report = take_fitting(networks.generator, other.generator.state_dict(), "G.pth")
    assert report.taken == report.total
    assert torch.equal(networks.generator.emb_g.weight, other.generator.emb_g.weight[:3])


def test_tensors_of_another_shape_are_counted_and_named(tiny_config: TrainingConfig) -> None:
    networks = build_networks(tiny_config)
    state = dict(build_networks(tiny_config).generator.state_dict())
    state["enc_p.emb_phone.weight"] = torch.zeros(3, 3)
    del state["emb_g.weight"]
    report = take_fitting(networks.generator, state, "G.pth")
    assert report.taken == report.total - 2
    assert "1 not in the file (emb_g.weight)" in report.in_words()
    assert "1 of another shape there (enc_p.emb_phone.weight)" in report.in_words()


def test_a_file_of_another_model_is_refused(tiny_config: TrainingConfig, tmp_path: Path) -> None:
    path = write_pair(
        tmp_path,
        tiny_config.model_copy(update={"hidden_channels": 16, "upsample_initial_channels": 32}),
    )
    with pytest.raises(ConfigError, match="does not fit"):
        start_from(
            build_networks(tiny_config),
            tiny_config.model_copy(update={"pretrained": str(path)}),
            tmp_path,
        )


def test_without_the_published_files_it_trains_from_scratch_and_says_why(tmp_path: Path) -> None:
    small = TrainingConfig(
        sample_rate=40000, hidden_channels=8, filter_channels=8, encoder_layers=1,
        upsample_initial_channels=16, discriminator_scale=0.01,
    )  # fmt: skip
    _, warnings = start_from(build_networks(small), small, tmp_path)
    assert "from scratch" in warnings[0] and "no published weights of this size" in warnings[0]


def test_a_missing_file_is_refused(tiny_config: TrainingConfig, tmp_path: Path) -> None:
    config = tiny_config.model_copy(update={"pretrained": str(tmp_path / "G.pth")})
    with pytest.raises(ConfigError, match="no file"):
        start_from(build_networks(tiny_config), config, tmp_path)
