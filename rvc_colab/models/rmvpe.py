"""RMVPE's network: log mel in, 360 pitch saliences per frame out, in the key layout of rmvpe.pt.

Wei et al., "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music" (2023). A U-Net
over time and mel bands, then a bidirectional GRU. Letters: T frames of 10 ms, a multiple of
2^layers; M = 128 mel bands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

MELS = 128
SALIENCE_BINS = 360
GRU_HIDDEN = 256
_BN_MOMENTUM = 0.01


@dataclass(frozen=True)
class E2EConfig:
    """Sizes of the network; the defaults are those of the published rmvpe.pt."""

    blocks: int = 4
    grus: int = 1
    layers: int = 5
    intermediate_layers: int = 4
    channels: int = 16

    @property
    def time_multiple(self) -> int:
        """The number of frames must be a multiple of this."""
        return 2**self.layers

    @classmethod
    def from_weights(cls, weights: Mapping[str, torch.Tensor]) -> E2EConfig:
        """Read the sizes off the names and shapes of a state dict. Raises KeyError when foreign."""
        return cls(
            blocks=_count(weights, r"unet\.encoder\.layers\.0\.conv\.(\d+)\."),
            grus=_count(weights, r"fc\.0\.gru\.weight_hh_l(\d+)$"),
            layers=_count(weights, r"unet\.encoder\.layers\.(\d+)\."),
            intermediate_layers=_count(weights, r"unet\.intermediate\.layers\.(\d+)\."),
            channels=weights["unet.encoder.layers.0.conv.0.conv.0.weight"].shape[0],
        )


def _count(weights: Mapping[str, torch.Tensor], pattern: str) -> int:
    found = [int(match[1]) for name in weights if (match := re.match(pattern, name))]
    if not found:
        raise KeyError(pattern)
    return max(found) + 1


class ConvBlockRes(nn.Module):
    """Two 3x3 convolutions with a shortcut: `[B, C, T, M]` → `[B, out, T, M]`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs, momentum=_BN_MOMENTUM),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs, momentum=_BN_MOMENTUM),
            nn.ReLU(),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the convolved input to the input."""
        return self.conv(x) + (x if self.shortcut is None else self.shortcut(x))


class ResEncoderBlock(nn.Module):
    """Some residual blocks, then halving of time and bands where `pool` says so."""

    def __init__(self, inputs: int, outputs: int, blocks: int, pool: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * blocks
        self.conv = nn.ModuleList(ConvBlockRes(a, b) for a, b in zip(widths, widths[1:]))
        self.pool = pool

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the full and the halved output (the same without pooling)."""
        for block in self.conv:
            x = block(x)
        return x, functional.avg_pool2d(x, 2) if self.pool else x


class Encoder(nn.Module):
    """The falling side of the U-Net; doubles the channels at each layer."""

    def __init__(self, config: E2EConfig) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1, momentum=_BN_MOMENTUM)
        widths = [1] + [config.channels * 2**i for i in range(config.layers)]
        self.layers = nn.ModuleList(
            ResEncoderBlock(a, b, config.blocks, pool=True) for a, b in zip(widths, widths[1:])
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the smallest map and the full ones, largest first."""
        x = self.bn(x)
        skips = []
        for layer in self.layers:
            full, x = layer(x)
            skips.append(full)
        return x, skips


class Intermediate(nn.Module):
    """The bottom of the U-Net."""

    def __init__(self, config: E2EConfig) -> None:
        super().__init__()
        bottom = config.channels * 2**config.layers
        widths = [bottom // 2] + [bottom] * config.intermediate_layers
        self.layers = nn.ModuleList(
            ResEncoderBlock(a, b, config.blocks, pool=False) for a, b in zip(widths, widths[1:])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers one after the other."""
        for layer in self.layers:
            x, _ = layer(x)
        return x


class ResDecoderBlock(nn.Module):
    """Double time and bands, join the encoder's map of that size, then residual blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(
                inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False
            ),
            nn.BatchNorm2d(outputs, momentum=_BN_MOMENTUM),
            nn.ReLU(),
        )
        widths = [2 * outputs] + [outputs] * blocks
        self.conv2 = nn.ModuleList(ConvBlockRes(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return `[B, out, 2T, 2M]`."""
        x = torch.cat((self.conv1(x), skip), dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class Decoder(nn.Module):
    """The rising side of the U-Net."""

    def __init__(self, config: E2EConfig) -> None:
        super().__init__()
        widths = [config.channels * 2**i for i in range(config.layers, -1, -1)]
        self.layers = nn.ModuleList(
            ResDecoderBlock(a, b, config.blocks) for a, b in zip(widths, widths[1:])
        )

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """Join the encoder's maps from the smallest to the largest."""
        for layer, skip in zip(self.layers, reversed(skips)):
            x = layer(x, skip)
        return x


class DeepUnet(nn.Module):
    """The U-Net: `[B, 1, T, M]` → `[B, channels, T, M]`."""

    def __init__(self, config: E2EConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.intermediate = Intermediate(config)
        self.decoder = Decoder(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run down, through and up."""
        x, skips = self.encoder(x)
        return self.decoder(self.intermediate(x), skips)


class BiGRU(nn.Module):
    """A bidirectional GRU over time: `[B, T, C]` → `[B, T, 2 · hidden]`."""

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs of both directions side by side."""
        return self.gru(x)[0]


class E2E(nn.Module):
    """The whole network; `forward` takes log mel `[B, M, T]` and returns salience `[B, T, 360]`."""

    def __init__(self, config: E2EConfig = E2EConfig()) -> None:
        super().__init__()
        self.config = config
        self.unet = DeepUnet(config)
        self.cnn = nn.Conv2d(config.channels, 3, 3, padding=1)
        self.fc = nn.Sequential(
            BiGRU(3 * MELS, GRU_HIDDEN, config.grus),
            nn.Linear(2 * GRU_HIDDEN, SALIENCE_BINS),
            nn.Dropout(0.25),
            nn.Sigmoid(),
        )

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Compute salience in 0..1; T must be a multiple of `config.time_multiple`."""
        x = log_mel.transpose(1, 2).unsqueeze(1)
        x = self.cnn(self.unet(x))
        return self.fc(x.transpose(1, 2).flatten(2))


def for_inference(model: E2E) -> E2E:
    """Fold the batch norms into the convolutions and lay them out channels last (1.4x on a CPU).

    Changes `model` in place (exact to rounding) and returns it in eval mode.
    """
    model.eval()
    for parent in list(model.modules()):
        if isinstance(parent, nn.Sequential):
            _fold(parent)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fold(chain: nn.Sequential) -> None:
    for i in range(len(chain) - 1):
        convolution, norm = chain[i], chain[i + 1]
        if isinstance(norm, nn.BatchNorm2d):
            assert isinstance(convolution, (nn.Conv2d, nn.ConvTranspose2d))
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            chain[i] = fuse_conv_bn_eval(convolution, norm, transpose=transposed)
            chain[i + 1] = nn.Identity()
