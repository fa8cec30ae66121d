"""The numbers that describe a synthesizer, and the published list of 18 that carries them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from rvc_colab.errors import VoiceError

CONTENT_WIDTHS = {"v1": 256, "v2": 768}
"""Width of the content features: v1 reads layer 9 after its projection, v2 reads layer 12."""

EXPORTED_SEGMENT_FRAMES = 32
"""Position 1 of the published list is this constant, whatever slice the voice was trained with."""

_LENGTH = 18
_RESBLOCK_KERNELS = (3, 7, 11)
_RESBLOCK_DILATIONS = ((1, 3, 5),) * 3

# n_fft, segment frames, upsample rates, upsample kernels: the published training configs.
# 16000 has no published config; its last stage doubles twice at once, so that the full rate has
# twice the channels that the published stages would leave it, at the same cost.
_STANDARD: dict[tuple[int, str], tuple[int, int, tuple[int, ...], tuple[int, ...]]] = {
    (16000, "v1"): (1024, 40, (10, 4, 4), (16, 16, 8)),
    (16000, "v2"): (1024, 40, (10, 4, 4), (16, 16, 8)),
    (32000, "v1"): (1024, 40, (10, 4, 2, 2, 2), (16, 16, 4, 4, 4)),
    (32000, "v2"): (1024, 40, (10, 8, 2, 2), (20, 16, 4, 4)),
    (40000, "v1"): (2048, 32, (10, 10, 2, 2), (16, 16, 4, 4)),
    (40000, "v2"): (2048, 32, (10, 10, 2, 2), (16, 16, 4, 4)),
    (48000, "v1"): (2048, 24, (10, 6, 2, 2, 2), (16, 16, 4, 4, 4)),
    (48000, "v2"): (2048, 36, (12, 10, 2, 2), (24, 20, 4, 4)),
}


@dataclass(frozen=True)
class SynthesizerConfig:
    """Describe one synthesizer; field order is that of the published list."""

    spec_channels: int
    segment_frames: int
    inter_channels: int
    hidden_channels: int
    filter_channels: int
    heads: int
    layers: int
    kernel_size: int
    dropout: float
    resblock: str
    resblock_kernels: tuple[int, ...]
    resblock_dilations: tuple[tuple[int, ...], ...]
    upsample_rates: tuple[int, ...]
    upsample_initial_channels: int
    upsample_kernels: tuple[int, ...]
    speakers: int
    gin_channels: int
    sample_rate: int
    version: str = "v2"
    has_f0: bool = True

    @classmethod
    def from_list(
        cls, values: object, version: str = "v1", has_f0: bool = True
    ) -> SynthesizerConfig:
        """Read the published list of 18; raises VoiceError naming the entry that does not fit."""
        if not isinstance(values, (list, tuple)) or len(values) != _LENGTH:
            found = (
                f"{len(values)} entries"
                if isinstance(values, (list, tuple))
                else type(values).__name__
            )
            raise VoiceError(
                f"The voice's config should be a list of {_LENGTH} entries; found {found}.",
                "This is not an RVC voice: export it again from the program that made it.",
            )
        names = [field.name for field in fields(cls)[:_LENGTH]]
        read = {name: _read_entry(name, value) for name, value in zip(names, values, strict=True)}
        config = cls(**read, version=version, has_f0=has_f0)
        config.validate()
        return config

    @classmethod
    def standard(
        cls, sample_rate: int, version: str = "v2", has_f0: bool = True, speakers: int = 109
    ) -> SynthesizerConfig:
        """Return the published full-size configuration of a rate and version (16k: our own)."""
        if (sample_rate, version) not in _STANDARD:
            known = ", ".join(f"{rate} {name}" for rate, name in sorted(_STANDARD))
            raise VoiceError(
                f"There is no standard model of {sample_rate} Hz, version {version!r}.",
                f"Known: {known}.",
            )
        n_fft, segment, rates, kernels = _STANDARD[sample_rate, version]
        return cls(
            spec_channels=n_fft // 2 + 1,
            segment_frames=segment,
            inter_channels=192,
            hidden_channels=192,
            filter_channels=768,
            heads=2,
            layers=6,
            kernel_size=3,
            dropout=0,
            resblock="1",
            resblock_kernels=_RESBLOCK_KERNELS,
            resblock_dilations=_RESBLOCK_DILATIONS,
            upsample_rates=rates,
            upsample_initial_channels=512,
            upsample_kernels=kernels,
            speakers=speakers,
            gin_channels=256,
            sample_rate=sample_rate,
            version=version,
            has_f0=has_f0,
        )

    def to_list(self) -> list[Any]:
        """Return the published list of 18 as plain numbers, strings and lists."""
        values = list(asdict(self).values())[:_LENGTH]
        values[1] = EXPORTED_SEGMENT_FRAMES
        return [_plain(value) for value in values]

    @property
    def hop(self) -> int:
        """Samples per 10 ms frame."""
        return math.prod(self.upsample_rates)

    @property
    def segment_samples(self) -> int:
        """Samples of a training slice."""
        return self.segment_frames * self.hop

    @property
    def content_channels(self) -> int:
        """Width of the content features this voice takes."""
        return CONTENT_WIDTHS[self.version]

    def validate(self) -> None:
        """Raise VoiceError where the numbers contradict each other, before anything is built."""
        hint = "The file is damaged, or made by a program whose models differ from RVC's."
        if self.version not in CONTENT_WIDTHS:
            raise VoiceError(f"Version {self.version!r} is unknown; v1 and v2 exist.", hint)
        if self.resblock != "1":
            raise VoiceError(
                f"Resblock type {self.resblock!r} is not supported; RVC voices use '1'.", hint
            )
        if self.hop * 100 != self.sample_rate:
            raise VoiceError(
                f"The upsampling rates {list(self.upsample_rates)} make {self.hop} samples per "
                f"10 ms frame; {self.sample_rate} Hz needs {self.sample_rate / 100:g}.",
                hint,
            )
        if len(self.upsample_kernels) != len(self.upsample_rates):
            raise VoiceError(
                f"{len(self.upsample_rates)} upsampling rates stand beside "
                f"{len(self.upsample_kernels)} kernels.",
                hint,
            )
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels, strict=True):
            if kernel < rate:
                raise VoiceError(
                    f"Upsampling kernel {kernel} is shorter than its rate {rate}.", hint
                )
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise VoiceError("The resblock kernels and dilations differ in number.", hint)
        if self.hidden_channels % self.heads or self.inter_channels % 2:
            raise VoiceError(
                f"{self.hidden_channels} hidden channels do not divide by {self.heads} heads, "
                f"or {self.inter_channels} inter channels by 2.",
                hint,
            )
        if self.upsample_initial_channels % 2 ** len(self.upsample_rates):
            raise VoiceError(
                f"{self.upsample_initial_channels} initial channels cannot be halved "
                f"{len(self.upsample_rates)} times.",
                hint,
            )


_MANY = {"resblock_kernels", "upsample_rates", "upsample_kernels"}
_LARGEST_SIZE = 1_000_000
# What multiplies modules is bounded closely: a damaged number must not build a million of them.
_LARGEST = {"heads": 256, "layers": 64, "resblock_dilations": 1000, "resblock_kernels": 1000}


def _read_entry(name: str, value: Any) -> Any:
    """Check one entry of the published list and give it its immutable type."""
    if name == "resblock":
        return str(value)
    if name == "dropout":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise _bad_entry(name, value, "a number from 0 to below 1")
        return value
    if name == "resblock_dilations":
        if not isinstance(value, (list, tuple)) or not value:
            raise _bad_entry(name, value, "a list of lists of whole numbers")
        return tuple(_read_many(name, inner) for inner in value)
    return _read_many(name, value) if name in _MANY else _read_count(name, value)


def _read_many(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 16:
        raise _bad_entry(name, value, "a list of whole numbers")
    return tuple(_read_count(name, item) for item in value)


def _read_count(name: str, value: Any) -> int:
    largest = _LARGEST.get(name, _LARGEST_SIZE)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise _bad_entry(name, value, f"a whole number from 1 to {largest}")
    return value


def _bad_entry(name: str, value: Any, wanted: str) -> VoiceError:
    return VoiceError(
        f"The voice's config has {str(value)[:60]!r} as {name}; it should be {wanted}.",
        "The file is damaged, or made by a program whose models differ from RVC's.",
    )


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
