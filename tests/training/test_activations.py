"""What is computed again: chosen by its worth, and without a change of any gradient."""

import dataclasses

import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.hardware.machine import Facts
from rvc_colab.hardware.plan import plan_training
from rvc_colab.training.activations import Part, choose, recompute_as_asked, recompute_more, table
from rvc_colab.training.bench import _part, our_step
from rvc_colab.training.networks import Networks, build_networks

CPU = torch.device("cpu")
MODEL_ERROR = 0.25  # padded slices and kernels are not counted: much for so small a voice


@pytest.fixture
def networks(tiny_config: TrainingConfig) -> Networks:
    return build_networks(tiny_config)


def _chosen(networks: Networks) -> int:
    return len(networks.generator.dec.recomputed) + len(networks.discriminator.recomputed)


@pytest.mark.parametrize("asked", ["all", "40000", "off"])
@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_no_gradient_changes(
    tiny_config: TrainingConfig, asked: str, half: torch.dtype | None
) -> None:
    plain, thrifty = build_networks(tiny_config), build_networks(tiny_config)
    words = recompute_as_asked(thrifty, asked, plan_training(Facts(), 16000, batch_size=2))
    assert bool(words) == (asked != "off")
    part = _part(tiny_config, 2, CPU)
    losses = [our_step(each, CPU, half)(part) for each in (plain, thrifty)]
    for name, value in losses[0].items():
        assert torch.equal(value, losses[1][name]), name
    for one, two in (
        (plain.generator, thrifty.generator),
        (plain.discriminator, thrifty.discriminator),
    ):
        for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
            assert torch.equal(a, b), name


def _kept_bytes(networks: Networks, config: TrainingConfig) -> int:
    """Sum the memory that the graph of one generator pass and its judgement holds on to."""
    batch, draw = _part(config, 1, CPU)
    held: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = networks.generator(batch, draw.starts)
        alive = networks.discriminator(torch.cat((out.wave, out.wave)))
    assert alive
    return sum(held.values())


def test_the_table_counts_what_is_really_kept(
    tiny_config: TrainingConfig, networks: Networks
) -> None:
    before = _kept_bytes(networks, tiny_config)
    recompute_more(networks)
    saved = before - _kept_bytes(networks, tiny_config)
    counted = sum(part.kept_bytes for part in table(networks))
    assert saved == pytest.approx(counted, rel=MODEL_ERROR)


def test_the_part_worth_most_goes_first_and_only_as_many_as_needed() -> None:
    parts = [Part("generator", 1, 80, 10), Part("generator", 0, 40, 10)]
    assert choose(parts, 50) == parts[:1]
    assert choose(parts, 81) == parts and choose(parts, 0) == []


def test_late_stages_of_the_full_generator_are_worth_more_than_early_ones() -> None:
    with torch.device("meta"):
        rows = table(build_networks(TrainingConfig()))
    stages = [part.number for part in rows if part.network == "generator"]
    assert stages == [3, 2, 1, 0]


def test_a_budget_is_kept(networks: Networks) -> None:
    plan = plan_training(Facts(), 16000, batch_size=2)
    kept = sum(part.kept_bytes for part in table(networks))
    recompute_as_asked(networks, str(kept), plan)
    again = {("generator", number) for number in networks.generator.dec.recomputed}
    again |= {("discriminator", number) for number in networks.discriminator.recomputed}
    left = [p.kept_bytes for p in table(networks) if (p.network, p.number) not in again]
    assert 0 < 2 * sum(left) <= kept


def test_auto_recomputes_only_where_memory_is_short(networks: Networks) -> None:
    plan = plan_training(Facts(), 16000, batch_size=2, checkpointing=False)
    recompute_as_asked(networks, "auto", plan)
    assert _chosen(networks) == 0
    tight = dataclasses.replace(plan, checkpointing=True, activation_bytes=2 * plan.item_bytes - 9)
    recompute_as_asked(networks, "auto", tight)
    assert _chosen(networks) == 1
