"""Measure what full-size networks hold and use: the source of the factors in memory/built_in.py.

    OMP_NUM_THREADS=1 python benchmarks/measure_memory.py voice rmvpe encoder

Random weights, float32, CPU; bytes of tensors, so the numbers do not depend on the machine.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rvc_colab.memory.sizes import held_bytes, used_bytes

MIB = 1024**2
LONGEST_SECONDS = 20  # a chunk of 18 s and its context
V2_40K = [
    1025, 32, 192, 192, 768, 2, 6, 3, 0, "1", [3, 7, 11], [[1, 3, 5]] * 3,
    [10, 10, 2, 2], 512, [16, 16, 4, 4], 109, 256, 40000,
]  # fmt: skip


def voice() -> tuple[Any, Callable[[int], Any]]:
    """Build a v2 voice of 40 kHz; a use synthesises so many seconds."""
    from rvc_colab.models.synthesizer import Synthesizer, SynthesizerConfig, prepare_for_inference

    config = SynthesizerConfig.from_list(V2_40K, "v2", True)
    model = prepare_for_inference(Synthesizer(config, with_posterior=False))
    print(f"generator: {held_bytes(model.dec) / held_bytes(model):.2f} of the weights")

    @torch.inference_mode()
    def use(seconds: int) -> torch.Tensor:
        frames = 100 * seconds
        return model.infer(
            torch.randn(1, frames, 768),
            torch.tensor([frames]),
            torch.randint(1, 255, (1, frames)),
            torch.full((1, frames), 220.0),
            torch.tensor([0]),
        )

    return model, use


def rmvpe() -> tuple[Any, Callable[[int], Any]]:
    """Build RMVPE."""
    from rvc_colab.features.f0_rmvpe import RmvpeEstimator
    from rvc_colab.models.rmvpe import E2E

    estimator = RmvpeEstimator(E2E().state_dict())
    return estimator, lambda seconds: estimator(_noise(seconds))


def encoder() -> tuple[Any, Callable[[int], Any]]:
    """Build HuBERT base."""
    from transformers import HubertConfig, HubertModel

    from rvc_colab.features.content import HubertEncoder

    model = HubertEncoder("random", HubertModel(HubertConfig()).eval(), None)
    return model, lambda seconds: model.encode(torch.from_numpy(_noise(seconds)), "v2")


def _noise(seconds: int) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(16000 * seconds, dtype=np.float32)
    return 0.1 * noise


def main() -> None:
    """Print weights and use of the kinds named on the command line."""
    kinds = {"voice": voice, "rmvpe": rmvpe, "encoder": encoder}
    for name in sys.argv[1:] or kinds:
        torch.manual_seed(0)
        model, use = kinds[name]()
        held = held_bytes(model)
        print(f"{name}: {held / MIB:.1f} MB held")
        for seconds in (1, 2, LONGEST_SECONDS):
            used = used_bytes(functools.partial(use, seconds))
            print(
                f"  {seconds:2d} s: {used / MIB:7.1f} MB in use, {used / held:.2f} of the weights"
            )


if __name__ == "__main__":
    main()
