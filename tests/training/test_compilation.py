"""Compilation and graphs are asked for, refused aloud where they do not work, and undone."""

import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training import compilation
from rvc_colab.training.machine import open_machine
from rvc_colab.training.networks import Networks, build_networks


def _asked(config: TrainingConfig, networks: Networks, **changes: bool) -> list[str]:
    config = config.model_copy(update=changes)
    return compilation.speed_up_as_asked(networks, config, open_machine(config))


def test_graphs_without_cuda_are_refused_aloud(tiny_config: TrainingConfig) -> None:
    said = _asked(tiny_config, build_networks(tiny_config), cuda_graphs=True)
    assert said == ["--cuda-graphs is left out: this is no CUDA device."]


def test_where_nothing_compiles_it_is_said(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_has_compiler", lambda: False)
    networks = build_networks(tiny_config)
    assert "--compile is left out" in _asked(tiny_config, networks, compile=True)[0]
    assert not compilation.undo(networks)


def test_what_is_computed_again_is_not_compiled(tiny_config: TrainingConfig) -> None:
    networks = build_networks(tiny_config)
    networks.generator.dec.recomputed = frozenset({0})
    assert "computed again" in _asked(tiny_config, networks, compile=True)[0]


def test_compiling_can_be_undone(tiny_config: TrainingConfig) -> None:
    networks = build_networks(tiny_config)
    names = set(networks.generator.state_dict())
    assert _asked(tiny_config, networks, compile=True) == []
    assert set(networks.generator.state_dict()) == names
    assert compilation.undo(networks) and not compilation.undo(networks)


def test_errors_of_the_compiler_are_told_apart() -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    error = BackendCompilerFailed(lambda: None, ValueError("no compiler"), None)
    assert compilation.is_compile_error(error)
    assert not compilation.is_compile_error(RuntimeError("no"))


@pytest.mark.slow
def test_a_compiled_discriminator_judges_the_same(tiny_config: TrainingConfig) -> None:
    judge = build_networks(tiny_config).discriminator.discriminators[1]
    wave = torch.randn(1, 1, 2560, generator=torch.Generator().manual_seed(0))
    plain = judge(wave)[0]
    judge.forward = compilation._compiled_for_training(judge)  # type: ignore[method-assign]
    assert torch.allclose(plain, judge(wave)[0], atol=1e-5)
