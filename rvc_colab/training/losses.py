"""The terms of the loss, all in float32 whatever precision the networks compute in.

Least-squares GAN with feature matching and a mel distance (HiFi-GAN, arXiv 2010.05646, section 2.3)
and the KL term of a variational autoencoder with a flow (VITS, arXiv 2106.06103, section 2.1).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FEATURE_WEIGHT = 2.0  # published


def discriminator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Ask for 1 on real and 0 on generated sound: sum over discriminators of mean squares."""
    parts = [
        (1 - r.float()).square().mean() + f.float().square().mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(parts).sum()


def adversarial_loss(fake: list[Tensor]) -> Tensor:
    """Ask the generator for scores of 1: sum over discriminators of mean squares."""
    return torch.stack([(1 - scores.float()).square().mean() for scores in fake]).sum()


def feature_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Compare the discriminators' feature maps: twice the sum of each map's mean distance.

    The real maps carry no gradient.
    """
    parts = [
        F.l1_loss(f.float(), r.float())
        for real_maps, fake_maps in zip(real, fake, strict=True)
        for r, f in zip(real_maps, fake_maps, strict=True)
    ]
    return torch.stack(parts).sum() * FEATURE_WEIGHT


def mel_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean distance of two log-mel spectra [B, M, T]."""
    return F.l1_loss(fake.float(), real.float())


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, mask: Tensor) -> Tensor:
    """Sum the divergence of posterior and prior over channels and unmasked frames (not yet a mean).

    All [B, inter, T], `mask` [B, 1, T]. Divided by the number of frames it is the published term:
    per frame, summed over channels.
    """
    z_p, logs_q, m_p, logs_p = z_p.float(), logs_q.float(), m_p.float(), logs_p.float()
    divergence = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p).square() * torch.exp(-2.0 * logs_p)
    return (divergence * mask).sum()
