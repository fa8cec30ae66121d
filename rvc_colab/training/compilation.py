"""Compile the networks, or replay the generator as CUDA graphs: asked for, never needed.

Shapes are static: every pass has the same number of slices, and generator and discriminators see
slices of one length. What cannot be had is said in a sentence, and training goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rvc_colab.config import TrainingConfig
from rvc_colab.training.machine import Machine
from rvc_colab.training.networks import Networks

_log = logging.getLogger(__name__)

GRAPH_TOLERANCE = 2e-2  # of the replayed sound, in 16 bit


def speed_up_as_asked(networks: Networks, config: TrainingConfig, machine: Machine) -> list[str]:
    """Do what `compile` and `cuda_graphs` ask for; return a sentence for each thing refused."""
    refused = []
    if config.compile:
        refused.append(_compile(networks))
    if config.cuda_graphs:
        refused.append(_replay(networks, machine))
    refused = [sentence for sentence in refused if sentence]
    for sentence in refused:
        _log.warning("%s", sentence)
    return refused


def is_compile_error(error: BaseException) -> bool:
    """Tell whether an error comes from the compiler and not from what it compiled."""
    found: BaseException | None = error
    while found is not None:
        if type(found).__module__.startswith(("torch._dynamo", "torch._inductor", "triton")):
            return True
        found = found.__cause__
    return False


def undo(networks: Networks) -> bool:
    """Run everything as it was written; False when it did so already."""
    undone = False
    for module in (networks.generator.dec, *networks.discriminator.discriminators):
        if "forward" in vars(module):
            del module.forward
            undone = True
    return undone


def _compile(networks: Networks) -> str:
    """Compile what is not computed again; the compiler runs when it is first called."""
    if not _has_compiler():
        return "--compile is left out: torch.compile does not run on this Python and system."
    if networks.generator.dec.recomputed or networks.discriminator.recomputed:
        return "--compile is left out: activations are computed again instead of kept."
    for module in (networks.generator.dec, *networks.discriminator.discriminators):
        module.forward = _compiled_for_training(module)  # type: ignore[method-assign]
    return ""


def _compiled_for_training(module: nn.Module) -> Callable[..., Any]:
    """Compile a module's forward; listening to a clip of any length runs it as it was written."""
    eager = module.forward
    compiled = torch.compile(eager, dynamic=False)

    def forward(*values: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else eager)(*values)

    return forward


def _has_compiler() -> bool:
    from torch._dynamo import is_dynamo_supported

    return bool(is_dynamo_supported())


def _replay(networks: Networks, machine: Machine) -> str:
    """Record the generator as CUDA graphs and check that they make the same sound."""
    dec, plan = networks.generator.dec, machine.plan
    reasons = {
        "this is no CUDA device": machine.device.type != "cuda",
        "several processes train together": machine.processes > 1,
        "a step has several passes": plan.accumulation > 1,
        "activations are computed again instead of kept": bool(dec.recomputed),
        "the generator is compiled": "forward" in vars(dec),
    }
    for reason, holds in reasons.items():
        if holds:
            return f"--cuda-graphs is left out: {reason}."
    inputs = _sample_inputs(networks, plan.batch_size, machine.device)
    try:
        with _autocast(machine):
            expected = dec(*inputs).detach()
            _record(dec, inputs)
            worst = float((dec(*inputs).detach() - expected).abs().max())
    except Exception as error:
        undo(networks)
        return f"--cuda-graphs is left out, since recording failed: {str(error).splitlines()[0]}"
    if not worst < GRAPH_TOLERANCE:
        undo(networks)
        return f"--cuda-graphs is left out: the replayed sound differs by {worst:.2g}."
    return ""


def _autocast(machine: Machine) -> Any:
    """Kernels cast to 16 bit are not kept from one pass to the next: a graph casts its own."""
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(machine.plan.precision)
    return torch.autocast(
        "cuda", half or torch.bfloat16, enabled=half is not None, cache_enabled=False
    )


def _sample_inputs(networks: Networks, size: int, device: torch.device) -> tuple[Any, ...]:
    config = networks.generator.config
    latent = torch.randn(size, config.inter_channels, config.segment_frames, device=device)
    speaker = torch.randn(size, config.gin_channels, 1, device=device)
    source = None
    if config.has_f0:
        source = torch.randn(size, 1, config.segment_samples, device=device).requires_grad_()
    return latent.requires_grad_(), source, speaker.requires_grad_()


def _record(dec: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Replace the module's forward: graphs for passes like `inputs`, as written for all others."""
    eager = dec.forward
    has_source = inputs[1] is not None

    class Plain(nn.Module):
        """The generator with tensors only among its arguments."""

        def __init__(self) -> None:
            super().__init__()
            self.dec = dec

        def forward(self, latent: Tensor, speaker: Tensor, *source: Tensor) -> Tensor:
            return eager(latent, source[0] if source else None, speaker)

    arguments = (inputs[0], inputs[2], *((inputs[1],) if has_source else ()))
    replayed: Any = torch.cuda.make_graphed_callables(Plain(), arguments)
    shapes = [value.shape for value in arguments]

    def forward(latent: Tensor, source: Tensor | None, speaker: Tensor) -> Any:
        given = (latent, speaker, *((source,) if source is not None else ()))
        if torch.is_grad_enabled() and [value.shape for value in given] == shapes:
            return replayed(*(value.float() for value in given))
        return eager(latent, source, speaker)

    dec.forward = forward  # type: ignore[method-assign]
