"""Golden voices and their recorded inputs and outputs, read without the package's own reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.synthesizer import InferOptions, Synthesizer, TrainingNoise

torch.set_num_threads(1)


@dataclass
class GoldenVoice:
    """A tiny voice of the reference and the tensors of one recorded call."""

    config: SynthesizerConfig
    weights: dict[str, torch.Tensor]
    io: dict[str, torch.Tensor]

    def build(self) -> Synthesizer:
        model = Synthesizer(self.config, with_posterior=False)
        model.load_state_dict(self.weights, strict=True)
        return model.eval()

    @property
    def inputs(self) -> tuple[torch.Tensor | None, ...]:
        io = self.io
        return io["phone"], io["phone_lengths"], io.get("pitch"), io.get("nsff0"), io["sid"]

    def silent_noise(self, **options: object) -> InferOptions:
        frames = self.io["phone"].shape[1]
        return InferOptions(
            prior_noise=torch.zeros(1, self.config.inter_channels, frames),
            source_noise=torch.zeros(1, frames * self.config.hop, 1),
            **options,  # type: ignore[arg-type]
        )


def _read_arrays(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        tensors = {
            k: torch.from_numpy(arrays[k]) for k in arrays.files if arrays[k].dtype.kind in "fi"
        }
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}


@pytest.fixture
def golden_voice(golden: Path) -> Callable[[str], GoldenVoice]:
    """Load one golden voice by the stem of its file."""

    def load(name: str) -> GoldenVoice:
        file = torch.load(golden / "inference" / f"{name}.pth", weights_only=True)
        weights = {key: value.float() for key, value in file["weight"].items()}
        values = [*file["config"][:15], weights["emb_g.weight"].shape[0], *file["config"][16:]]
        config = SynthesizerConfig.from_list(values, file["version"], bool(file["f0"]))
        return GoldenVoice(config, weights, _read_arrays(golden / "inference" / f"{name}_io.npz"))

    return load


@dataclass
class GoldenStep:
    """One recorded training pass of the reference's tiny v2 48k models."""

    config: SynthesizerConfig
    generator: dict[str, torch.Tensor]
    discriminator: dict[str, torch.Tensor]
    recorded: dict[str, torch.Tensor]
    batch: SimpleNamespace
    wave: torch.Tensor
    slice_starts: torch.Tensor
    noise: TrainingNoise


@pytest.fixture(params=["", "_noise"], ids=["no_noise", "noise"])
def golden_step(golden: Path, request: pytest.FixtureRequest) -> GoldenStep:
    """The recorded step without and with noise."""
    folder = golden / "training"
    inputs = _read_arrays(folder / "c_v2_f0_48k.npz")
    recorded = _read_arrays(folder / f"c_v2_f0_48k{request.param}.npz")
    state = torch.load(folder / "c_v2_f0_48k_state.pth", weights_only=True)
    described = json.loads(str(np.load(folder / "c_v2_f0_48k.npz")["config_json"]))
    model = described["model"]
    values = [
        described["spec_channels"], described["segment_frames"], model["inter_channels"],
        model["hidden_channels"], model["filter_channels"], model["n_heads"], model["n_layers"],
        model["kernel_size"], model["p_dropout"], model["resblock"],
        model["resblock_kernel_sizes"], model["resblock_dilation_sizes"], model["upsample_rates"],
        model["upsample_initial_channel"], model["upsample_kernel_sizes"],
        model["spk_embed_dim"], model["gin_channels"], described["sr"],
    ]  # fmt: skip
    batch = SimpleNamespace(
        content=inputs["in_phone"],
        content_lengths=inputs["in_phone_lengths"],
        coarse_pitch=inputs["in_pitch"],
        f0_hz=inputs["in_pitchf"],
        spec=inputs["in_spec"],
        spec_lengths=inputs["in_spec_lengths"],
        speaker_id=inputs["in_sid"],
    )
    noise = TrainingNoise(
        posterior=recorded.get("noise_enc_q", torch.zeros(2, 16, 44)),
        source=recorded.get("noise_sine", torch.zeros(2, 7680, 1)),
    )
    return GoldenStep(
        SynthesizerConfig.from_list(values, "v2", True),
        state["G"],
        state["D"],
        recorded,
        batch,
        inputs["in_wav"].float() / 32768,
        inputs["in_ids_slice"],
        noise,
    )
