"""The training step against the published one's numbers, three AdamW steps long."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.audio.spectral import log_mel, log_mel_from_wave, mel_scales, spectrogram_config
from rvc_colab.models.discriminators import DiscriminatorWidths, MultiPeriodDiscriminator
from rvc_colab.models.synthesizer import (
    InferOptions,
    Synthesizer,
    SynthesizerConfig,
    TrainingNoise,
    slice_segments,
)
from rvc_colab.training.batches import Batch, Draw
from rvc_colab.training.losses import mel_loss
from rvc_colab.training.step import GanStep, Player, StepSettings

GOLDEN = Path(__file__).parents[1] / "golden" / "training"
TINY_WIDTHS = DiscriminatorWidths((2, 4, 8, 16, 16, 16), (2, 4, 8, 16), (4, 8, 12, 16, 16))
LOSS_TOLERANCE = 3e-5
NORM_TOLERANCE = {"c_v2_f0_48k": 1e-5, "c_v2_f0_48k_noise": 1e-4}  # relative
GRADIENT_TOLERANCE = {"c_v2_f0_48k": 1e-5, "c_v2_f0_48k_noise": 1e-3}
# A softmax does not change when all its inputs move together: the exact gradient of this bias is
# zero, and AdamW turns its rounding noise into steps.
SHIFTLESS = "conv_k.bias"
# The recorded run used the floors of its own year.
SPECTROGRAM = dataclasses.replace(spectrogram_config(48000, "v2"), power_floor=2e-7, mel_floor=2e-6)


class Recorded:
    """One recorded case: networks, batch and draws as they were."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.data = {key: file[key] for key in file.files}
        with np.load(GOLDEN / "c_v2_f0_48k.npz") as file:
            self.inputs = {
                key: file[key] for key in file.files if key.startswith(("in_", "config"))
            }
        config = json.loads(str(self.inputs["config_json"]))
        sizes = config["model"]
        self.config = SynthesizerConfig(
            config["spec_channels"],
            config["segment_frames"],
            sizes["inter_channels"],
            sizes["hidden_channels"],
            sizes["filter_channels"],
            sizes["n_heads"],
            sizes["n_layers"],
            sizes["kernel_size"],
            0,
            "1",
            (3, 7, 11),
            ((1, 3, 5),) * 3,
            tuple(sizes["upsample_rates"]),
            sizes["upsample_initial_channel"],
            tuple(sizes["upsample_kernel_sizes"]),
            sizes["spk_embed_dim"],
            sizes["gin_channels"],
            config["sr"],
            "v2",
            True,
        )
        state = torch.load(GOLDEN / "c_v2_f0_48k_state.pth", weights_only=True)
        self.generator = Synthesizer(self.config)
        self.generator.load_state_dict(state["G"])
        self.discriminator = MultiPeriodDiscriminator("v2", TINY_WIDTHS)
        self.discriminator.load_state_dict(state["D"])
        self.steps = json.loads(str(self.data["steps_json"]))

    def batch(self) -> tuple[Batch, Draw]:
        x = {
            key: torch.from_numpy(value)
            for key, value in self.inputs.items()
            if key != "config_json"
        }
        batch = Batch(
            x["in_phone"].float(),
            x["in_phone_lengths"],
            x["in_pitch"],
            x["in_pitchf"].float(),
            x["in_spec"],
            x["in_spec_lengths"],
            x["in_wav"].float() / 32768,
            x["in_sid"],
            float(x["in_spec_lengths"].sum()),
        )
        samples = self.config.segment_samples
        posterior, source = torch.zeros(2, 16, 44), torch.zeros(2, samples, 1)
        if "noise_enc_q" in self.data:
            posterior = torch.from_numpy(self.data["noise_enc_q"])
            source = torch.from_numpy(self.data["noise_sine"])
        return batch, Draw(x["in_ids_slice"], posterior, source)

    def game(self) -> GanStep:
        def player(network: torch.nn.Module) -> Player:
            optimizer = torch.optim.AdamW(network.parameters(), 1e-4, (0.8, 0.99), 1e-9, fused=True)
            return Player(network, optimizer)

        return GanStep(
            player(self.generator), player(self.discriminator), StepSettings(SPECTROGRAM)
        )


@pytest.fixture(params=["c_v2_f0_48k", "c_v2_f0_48k_noise"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_losses_and_norms_of_three_steps_are_the_published_ones(name: str) -> None:
    recorded = Recorded(name)
    game, part = recorded.game(), recorded.batch()
    for expected in recorded.steps:
        got = {key: float(value) for key, value in game.step([part], measure=True).items()}
        for ours, theirs in [
            ("discriminator", "loss_disc"),
            ("adversarial", "loss_gen"),
            ("feature", "loss_fm"),
            ("mel", "loss_mel"),
            ("kl", "loss_kl"),
            ("total", "loss_gen_all"),
        ]:
            assert got[ours] == pytest.approx(
                expected[theirs], rel=LOSS_TOLERANCE, abs=LOSS_TOLERANCE
            ), ours
        for ours, theirs in [("discriminator", "grad_norm_d"), ("generator", "grad_norm_g")]:
            assert got[f"grad_norm/{ours}"] == pytest.approx(
                expected[theirs], rel=NORM_TOLERANCE[name]
            )


def test_single_gradients_are_the_published_ones(name: str) -> None:
    recorded = Recorded(name)
    recorded.game().step([recorded.batch()])
    parameters = dict(recorded.generator.named_parameters())
    for key, expected in recorded.data.items():
        if key.startswith("grad::"):
            got, wanted = parameters[key[6:]].grad, torch.from_numpy(expected)
            assert (got - wanted).norm() <= GRADIENT_TOLERANCE[name] * wanted.norm() + 1e-7, key


def test_parameters_after_three_steps_are_the_published_ones(name: str) -> None:
    recorded = Recorded(name)
    if "after_json" not in recorded.data:
        pytest.skip("this case recorded no parameters")
    game, part = recorded.game(), recorded.batch()
    for _ in recorded.steps:
        game.step([part])
    after = json.loads(str(recorded.data["after_json"]))
    for key, network in [("G", recorded.generator), ("D", recorded.discriminator)]:
        for parameter, (_, norm) in after[key].items():
            if not parameter.endswith(SHIFTLESS):
                got = network.state_dict()[parameter].double().norm().item()
                assert got == pytest.approx(norm, rel=2e-4, abs=1e-5), parameter


def test_the_reconstruction_before_the_first_step_is_the_published_one(name: str) -> None:
    recorded = Recorded(name)
    batch, draw = recorded.batch()
    with torch.no_grad():
        out = recorded.generator(batch, draw.starts, TrainingNoise(draw.posterior, draw.source))
        mel = log_mel(batch.spec, SPECTROGRAM)
    if "y_hat" in recorded.data:
        assert torch.allclose(out.wave, torch.from_numpy(recorded.data["y_hat"]), atol=2e-6, rtol=0)
    if "y_mel" in recorded.data:
        start = int(draw.starts[0])
        wanted = torch.from_numpy(recorded.data["y_mel"][0])
        assert torch.allclose(mel[0, :, start : start + 16], wanted, atol=1e-5)


def test_parts_of_a_batch_make_the_step_of_the_whole(name: str) -> None:
    whole, split = Recorded(name), Recorded(name)
    batch, draw = whole.batch()
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(Batch)}
    parts = [
        (
            Batch(**{k: v[i : i + 1] if torch.is_tensor(v) else v / 2 for k, v in fields.items()}),
            Draw(draw.starts[i : i + 1], draw.posterior[i : i + 1], draw.source[i : i + 1]),
        )
        for i in range(2)
    ]
    one = whole.game().step([(batch, draw)], measure=True)
    two = split.game().step(parts, measure=True)
    for key in one:
        assert float(two[key]) == pytest.approx(float(one[key]), rel=1e-5), key
    gradients = zip(whole.generator.parameters(), split.generator.parameters())
    worst = max(float((a.grad - b.grad).norm() / (a.grad.norm() + 1e-3)) for a, b in gradients)
    assert worst < 1e-4


def test_without_the_adversary_the_discriminator_rests() -> None:
    recorded = Recorded("c_v2_f0_48k")
    before = {key: value.clone() for key, value in recorded.discriminator.state_dict().items()}
    losses = recorded.game().step([recorded.batch()], adversarial=False)
    assert set(losses) == {"mel", "kl", "total"}
    assert all(
        torch.equal(value, before[key])
        for key, value in recorded.discriminator.state_dict().items()
    )


def test_further_scales_join_the_mel_loss_as_its_mean() -> None:
    plain, scaled, alone = (Recorded("c_v2_f0_48k") for _ in range(3))
    scales = mel_scales(SPECTROGRAM, 3)
    several, own = scaled.game(), plain.game()
    several.settings = dataclasses.replace(several.settings, further_scales=scales[1:])
    together = float(several.step([scaled.batch()])["mel"])
    batch, draw = alone.batch()
    with torch.no_grad():
        out = alone.generator(batch, draw.starts, TrainingNoise(draw.posterior, draw.source))
    hop, frames = alone.config.hop, alone.config.segment_frames
    real = slice_segments(batch.wave, draw.starts * hop, frames * hop)
    terms = [
        mel_loss(*(log_mel_from_wave(wave.squeeze(1), scale) for wave in (real, out.wave)))
        for scale in scales[1:]
    ]
    expected = (float(own.step([plain.batch()])["mel"]) + 45 * float(sum(terms))) / 3
    assert together == pytest.approx(expected, rel=1e-4)


def test_from_the_prior_conversion_itself_is_trained() -> None:
    recorded = Recorded("c_v2_f0_48k")
    game, (batch, draw) = recorded.game(), recorded.batch()
    game.settings = dataclasses.replace(game.settings, from_prior=True)
    start, samples = torch.zeros_like(draw.starts), batch.content.shape[1] * recorded.config.hop
    noise = TrainingNoise(draw.posterior, draw.source)
    options = InferOptions(draw.posterior, torch.zeros(2, samples, 1))
    content = (batch.content, batch.content_lengths, batch.coarse_pitch, batch.f0_hz)
    with torch.no_grad():
        made = recorded.generator(batch, start, noise, from_prior=True).wave
        converted = recorded.generator.infer(*content, batch.speaker_id, options)
    # Equal but for the slice's end, behind which the generator sees nothing.
    seen = (recorded.config.segment_frames - recorded.generator.dec.context_frames) * (
        recorded.config.hop
    )
    assert seen > 0
    assert torch.allclose(made[..., :seen], converted[..., :seen], atol=1e-5)
    untouched = {name: p.clone() for name, p in recorded.generator.enc_q.named_parameters()}
    losses = game.step([(batch, draw)])
    assert set(losses) == {"mel", "feature", "adversarial", "discriminator", "total"}
    assert all(torch.equal(p, untouched[n]) for n, p in recorded.generator.enc_q.named_parameters())
    assert recorded.generator.enc_p.emb_phone.weight.grad.abs().sum() > 0


def test_clipping_holds_the_gradients_to_the_limit() -> None:
    recorded = Recorded("c_v2_f0_48k")
    game = recorded.game()
    game.settings = dataclasses.replace(game.settings, max_grad_norm=1.0)
    game.step([recorded.batch()])
    norm = torch.stack([p.grad.norm() for p in recorded.generator.parameters()]).norm()
    assert float(norm) == pytest.approx(1.0, rel=1e-3)


def test_the_channels_last_generator_learns_the_same() -> None:
    plain, fast = Recorded("c_v2_f0_48k"), Recorded("c_v2_f0_48k")
    fast.generator.dec.channels_last = True
    one = plain.game().step([plain.batch()], measure=True)
    two = fast.game().step([fast.batch()], measure=True)
    for key in one:
        assert float(two[key]) == pytest.approx(float(one[key]), rel=1e-5), key
