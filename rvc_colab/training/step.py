"""One step of the game between generator and discriminator.

Same mathematics as the published step, without its waste: real and generated sound pass the
discriminator together; while the generator learns, the discriminator is frozen and the real sound
leaves no graph; target mel spectra are computed of the slice only. Nothing here waits for the
device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rvc_colab.audio.spectral import SpectrogramConfig, log_mel, log_mel_from_wave
from rvc_colab.models.discriminators import MultiPeriodDiscriminator
from rvc_colab.models.layers import recompute
from rvc_colab.models.synthesizer import Synthesizer, TrainingNoise, slice_segments
from rvc_colab.training.agreement import Gradients
from rvc_colab.training.batches import Batch, Draw
from rvc_colab.training.losses import (
    adversarial_loss,
    discriminator_loss,
    feature_loss,
    kl_loss,
    mel_loss,
)

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class StepSettings:
    """What the step weighs and measures with."""

    spectrogram: SpectrogramConfig
    mel_weight: float = 45.0
    kl_weight: float = 1.0
    max_grad_norm: float | None = None
    from_prior: bool = False  # decode what content predicts, not the recording's own latent
    further_scales: tuple[SpectrogramConfig, ...] = ()  # of the mel loss, beside the voice's own


def _nothing() -> AbstractContextManager[None]:
    return nullcontext()


@dataclass
class Player:
    """A network with its optimizer; `shared` are the gradients that several processes average."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    shared: Gradients | None = None

    def clear(self) -> None:
        """Let the next passes begin with no gradients."""
        if self.shared is None:
            self.optimizer.zero_grad()
        else:
            self.shared.clear()


@dataclass
class Machinery:
    """How gradients are made and applied: plain torch by default, `machine.py` has the rest."""

    autocast: Callable[[], AbstractContextManager[None]] = _nothing
    backward: Callable[[Tensor], None] = torch.Tensor.backward
    unscale: Callable[[torch.optim.Optimizer], None] = lambda optimizer: None
    # Around the use of gradients that are all there: several processes share theirs first.
    applying: Callable[[Gradients | None], AbstractContextManager[None]] = lambda shared: (
        nullcontext()
    )
    forget: Callable[[], None] = lambda: None  # that gradients were unscaled


class GanStep:
    """The step: `step(batches)` trains both networks on what is one batch, given in parts."""

    def __init__(
        self,
        generator: Player,
        discriminator: Player,
        settings: StepSettings,
        machinery: Machinery | None = None,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.settings = settings
        self.machinery = machinery or Machinery()
        model = generator.network
        assert isinstance(model, Synthesizer)
        self.frames, self.hop = model.config.segment_frames, model.config.hop
        self._discriminated: Losses | None = None  # of a step that broke off after this half

    def step(
        self, parts: Sequence[tuple[Batch, Draw]], adversarial: bool = True, measure: bool = False
    ) -> Losses:
        """Train on one batch in parts (several = gradient accumulation) and return its losses.

        Without `adversarial` the discriminator rests and the generator learns to reconstruct only.
        With `measure` the gradient norms are returned too. Values stay on the device. A step that
        broke off is repeated by calling again with the same clips and draws, in whatever parts:
        what was applied is not applied twice.
        """
        losses: Losses = {}
        made = self._generate(parts[0], keep=True) if len(parts) == 1 else None
        if adversarial:
            if self._discriminated is None:
                self._discriminated = self._train_discriminator(parts, made, measure)
            losses |= self._discriminated
        losses |= self._train_generator(parts, made, adversarial, measure)
        self._discriminated = None
        return losses

    def abandon(self) -> None:
        """Let go of what a step that broke off left behind."""
        for player in (self.generator, self.discriminator):
            player.clear()
        self.machinery.forget()

    def _generate(self, part: tuple[Batch, Draw], keep: bool) -> tuple[Losses, Tensor, Tensor]:
        """Reconstruct a part: (its own loss terms, real slice, generated slice)."""
        batch, draw = part
        with torch.set_grad_enabled(keep), self.machinery.autocast():
            noise = TrainingNoise(draw.posterior, draw.source)
            out = self.generator.network(batch, draw.starts, noise, self.settings.from_prior)
        fake = out.wave.float()
        real = slice_segments(batch.wave, draw.starts * self.hop, self.frames * self.hop)
        if not keep:
            return {}, real, fake
        mel = self.settings.spectrogram
        target = log_mel(slice_segments(batch.spec, draw.starts, self.frames), mel)
        distances = [mel_loss(target, log_mel_from_wave(fake.squeeze(1), mel))]
        for scale in self.settings.further_scales:
            pair = (log_mel_from_wave(wave.squeeze(1), scale) for wave in (real, fake))
            distances.append(mel_loss(*pair))
        terms = {"mel": mean_of(distances) * self.settings.mel_weight}
        if not self.settings.from_prior:
            divergence = kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.spec_mask)
            terms["kl"] = divergence / batch.frames_per_part * self.settings.kl_weight
        return terms, real, fake

    def _train_discriminator(
        self,
        parts: Sequence[tuple[Batch, Draw]],
        made: tuple[Losses, Tensor, Tensor] | None,
        measure: bool,
    ) -> Losses:
        player, total = self.discriminator, []
        player.network.requires_grad_(True)
        player.clear()
        for part in parts:
            # With several parts their graphs do not fit in memory together: each is generated
            # twice from the same draws, here without a graph.
            _, real, fake = made or self._generate(part, keep=False)
            with self.machinery.autocast():
                # The maps are let go at once: nobody needs those that are computed again.
                scores = player.network(torch.cat((real, fake.detach())))[0]
            judged = [score.chunk(2) for score in scores]
            loss = discriminator_loss([r for r, _ in judged], [f for _, f in judged])
            self.machinery.backward(loss / len(parts))
            total.append(loss.detach())
        return {"discriminator": mean_of(total)} | self._apply(player, "discriminator", measure)

    def _train_generator(
        self,
        parts: Sequence[tuple[Batch, Draw]],
        made: tuple[Losses, Tensor, Tensor] | None,
        adversarial: bool,
        measure: bool,
    ) -> Losses:
        player, collected = self.generator, []
        self.discriminator.network.requires_grad_(False)
        player.clear()
        for part in parts:
            terms, real, fake = made or self._generate(part, keep=True)
            if adversarial:
                terms = terms | self._judged(real, fake)
            total = torch.stack(list(terms.values())).sum()
            self.machinery.backward(total / len(parts))
            collected.append({name: term.detach() for name, term in terms.items()})
        losses = {name: mean_of([terms[name] for terms in collected]) for name in collected[0]}
        losses["total"] = torch.stack(list(losses.values())).sum()
        return losses | self._apply(player, "generator", measure)

    def _judged(self, real: Tensor, fake: Tensor) -> Losses:
        """What the frozen discriminator says of the generated slice, against the real one."""
        judge = self.discriminator.network
        assert isinstance(judge, MultiPeriodDiscriminator)
        terms = []
        with self.machinery.autocast():
            for number, each in enumerate(judge.discriminators):
                if number in judge.recomputed:
                    terms.append(recompute(_opinion, each, real, fake))
                else:
                    terms.append(_opinion(each, real, fake))
        return {
            "feature": torch.stack([feature for feature, _ in terms]).sum(),
            "adversarial": torch.stack([adversarial for _, adversarial in terms]).sum(),
        }

    def _apply(self, player: Player, name: str, measure: bool) -> Losses:
        """Take the optimizer's step; return the norm of the gradients where it is wanted."""
        limit, norms = self.settings.max_grad_norm, {}
        with self.machinery.applying(player.shared):
            if measure or limit is not None:
                self.machinery.unscale(player.optimizer)
                norm = grad_norm(player.network.parameters())
                if limit is not None:
                    gradients = _gradients(player.network.parameters())
                    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
                norms = {f"grad_norm/{name}": norm}
            player.optimizer.step()
        return norms


def _opinion(judge: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """One discriminator's (feature, adversarial) terms; the real slice leaves no graph."""
    with torch.no_grad():
        _, real_maps = judge(real)
    scores, fake_maps = judge(fake)
    return feature_loss([real_maps], [fake_maps]), adversarial_loss([scores])


def make_moments(optimizer: torch.optim.Optimizer) -> None:
    """Make AdamW's moments now, as it would in its first step: no later step needs more memory."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }


def mean_of(values: list[Tensor]) -> Tensor:
    """Average scalars on their device."""
    return values[0] if len(values) == 1 else torch.stack(values).mean()


def grad_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the 2-norm of all gradients as a scalar on their device."""
    gradients = _gradients(parameters)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
