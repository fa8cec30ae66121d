"""The embedded content encoder: small, convolutional, the same frame from any stretch of sound.

B batch, N samples at 16 kHz, M log-mel frames (100 a second), T content frames (50 a second),
C channels. Content frame i covers samples 320 i … 320 i + 400, as HuBERT's does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 16000  # Hz
WINDOW, MEL_HOP = 400, 160  # samples: 25 ms and 10 ms
CONTENT_HOP = 2 * MEL_HOP  # samples
PHONES = 40  # 39 ARPAbet phones (schwa folded into ah) and silence; order in recipes/phones.py
BANDS = 64  # of a mel frame in the picture
PICTURE = 2 * BANDS  # channels: the two mel frames that a content frame spans
CONTENT_CHANNELS = 2 * PICTURE  # picture and spelled phones


@dataclass(frozen=True)
class TinyEncoderConfig:
    """Sizes of the encoder; the defaults are the shipped one's."""

    mels: int = 80
    width: int = 256
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1, 2, 4, 1, 2, 1)


def content_frames(samples: int) -> int:
    """Return the number of content frames of a wave: HuBERT's count, at least one."""
    return max(1, (samples - WINDOW + CONTENT_HOP) // CONTENT_HOP)


def mel_matrix(mels: int, warp: float = 1.0, bend: float = 0.0) -> Tensor:
    """Return triangular mel filters [mels, WINDOW // 2 + 1], each of unit area in bins.

    Edges are equally spaced in mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987) from 40 Hz to
    8 kHz, then moved to f · warp · (1 + bend · (f / 8000 − 0.3)): the recipe's other speakers.
    """
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (40.0, SAMPLE_RATE / 2))
    points = torch.linspace(lowest, highest, mels + 2).double()
    edges = 700 * (10 ** (points / 2595) - 1)
    edges = edges * warp * (1 + bend * (edges / 8000 - 0.3))
    bins = torch.arange(WINDOW // 2 + 1).double() * SAMPLE_RATE / WINDOW
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    # A low filter is narrower than a bin (40 Hz) and may miss them all: it takes the nearest.
    nearest = 1 - ((bins - centre).abs() / (SAMPLE_RATE / WINDOW)).clamp(max=1)
    triangles = torch.where(triangles.sum(1, keepdim=True) < 0.5, nearest, triangles)
    return (triangles / triangles.sum(1, keepdim=True).clamp(min=1e-3)).float()


class FrontEnd(nn.Module):
    """Log-mel spectrogram whose level is measured against the sound around each frame.

    Dividing by the mean power within ± 0.4 s makes the content independent of gain and, unlike a
    normalisation over the whole input, of everything further away. Always in float32: half
    precision holds neither the powers' range nor transforms of 400.
    """

    AROUND = 40  # mel frames each side
    QUIETEST = 1e-3  # power of about −75 dB full scale: below it nothing is amplified
    FLOOR = 1e-6  # of the surrounding power, per band

    window: Tensor
    mel: Tensor

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("mel", mel_matrix(mels), persistent=False)

    def power(self, wave: Tensor) -> Tensor:
        """Return the power spectrogram [B, 201, M] of a wave [B, N], N >= 400."""
        spectrum = torch.stft(
            wave.float(),
            WINDOW,
            MEL_HOP,
            window=self.window.float(),
            center=False,
            return_complex=True,
        )
        return spectrum.real.square() + spectrum.imag.square()

    def features(self, power: Tensor, mel: Tensor | None = None) -> Tensor:
        """Return levelled log-mel [B, mels, M]; `mel` [(B,) mels, 201] replaces the filters."""
        total = power.sum(1, keepdim=True)
        width = 2 * self.AROUND + 1
        level = F.avg_pool1d(total, width, 1, self.AROUND, count_include_pad=False)
        bands = torch.matmul((self.mel if mel is None else mel).float(), power)
        relative = bands / level.clamp(min=self.QUIETEST)
        # Centre and scale measured on speech: about zero mean and unit deviation.
        return (torch.log(relative + self.FLOOR) + 9.0) / 3.0

    def forward(self, wave: Tensor) -> Tensor:
        return self.features(self.power(wave))


class ConvBlock(nn.Module):
    """Pre-norm residual block: per-frame normalisation, SiLU, one dilated convolution of 3."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + self.conv(F.silu(normed))


def hadamard(order: int) -> Tensor:
    """Return Sylvester's ± 1 matrix [order, order], its rows orthogonal; order a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix


class TinyEncoder(nn.Module):
    """Sound to content: what was said, with little of who said it.

    Half of the content is a picture: two frames of levelled log-mel, smoothed along frequency, as
    one reference speaker would say the same; the other half spells the phones' probabilities in
    orthogonal ± 1 codes. Both have about unit variance, so distances weigh them alike.
    """

    codes: Tensor

    def __init__(self, config: TinyEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyEncoderConfig()
        self.front = FrontEnd(config.mels)
        self.stem = nn.Conv1d(config.mels, config.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(ConvBlock(config.width, d) for d in config.dilations)
        self.norm = nn.LayerNorm(config.width)
        self.picture = nn.Linear(config.width, PICTURE)
        self.phones = nn.Linear(config.width, PHONES)
        codes = hadamard(PICTURE)[1 : PHONES + 1]  # row 0 is constant: it tells nothing
        self.register_buffer("codes", codes, persistent=False)

    @property
    def context_samples(self) -> int:
        """Samples on each side that a frame can depend on; no sound further away changes it."""
        frames = FrontEnd.AROUND + 2 + 2 * sum(self.config.dilations)
        return frames * MEL_HOP + WINDOW

    def heard(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the picture [B, T, 2 · BANDS] and the phones' logits [B, T, 40].

        `features` [B, mels, M] is levelled log-mel.
        """
        hidden = self.stem(features.to(self.stem.weight.dtype))
        for block in self.blocks:
            hidden = block(hidden)
        hidden = self.norm(hidden.transpose(1, 2))
        return self.picture(hidden), self.phones(hidden)

    def phone_logits(self, wave: Tensor) -> Tensor:
        """Return unnormalised log-probabilities [B, T, 40] of the phones."""
        return self.heard(self.front(self._long_enough(wave)))[1]

    def forward(self, wave: Tensor) -> Tensor:
        """Return content [B, T, 256] of a 16 kHz wave [B, N]; T = max(1, (N - 80) // 320)."""
        picture, phones = self.heard(self.front(self._long_enough(wave)))
        return torch.cat((picture, torch.softmax(phones, -1) @ self.codes), -1)

    @staticmethod
    def _long_enough(wave: Tensor) -> Tensor:
        return F.pad(wave, (0, max(0, WINDOW - wave.shape[-1])))
