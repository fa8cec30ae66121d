"""What parts of the networks keep for their gradients, and which of it to compute again instead.

Each stage of the generator and each discriminator is one choice. Those that free the most bytes for
each operation of the repeated pass are taken first: late stages and scale before early stages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from rvc_colab.hardware.plan import TrainingPlan
from rvc_colab.models.discriminators import PeriodDiscriminator
from rvc_colab.models.generator import Generator
from rvc_colab.training.networks import Networks

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_JUDGED = 2  # the real and the generated slice
_PASSES = 2  # of a discriminator per step: when it learns, and when the generator learns


@dataclass(frozen=True)
class Part:
    """A stage of the generator or a discriminator: what computing it again saves and costs.

    `kept_bytes` and `operations` are those of one item of a batch in one step.
    """

    network: str
    number: int
    kept_bytes: int
    operations: int

    @property
    def worth(self) -> float:
        """Return the bytes freed for each operation repeated."""
        return self.kept_bytes / self.operations


def table(networks: Networks, precision: str = "fp32") -> list[Part]:
    """List the parts of both networks, those worth most first."""
    size = _BYTES[precision]
    samples = networks.generator.config.segment_samples
    stages = _stages(networks.generator.dec, networks.generator.config.segment_frames)
    judges = (_judge(each, samples) for each in networks.discriminator.discriminators)
    parts = [
        Part("generator", number, values * size, operations)
        for number, (values, operations) in enumerate(stages)
    ]
    parts += [
        Part("discriminator", number, values * size * _JUDGED, operations * _JUDGED * _PASSES)
        for number, (values, operations) in enumerate(judges)
    ]
    return sorted(parts, key=lambda part: part.worth, reverse=True)


def _stages(generator: Generator, frames: int) -> Iterable[tuple[int, int]]:
    """Count (values kept, operations) of each stage's residual blocks for one item."""
    length = frames
    for stage, up in enumerate(generator.ups):
        assert isinstance(up, nn.ConvTranspose1d)
        length *= up.stride[0]
        channels, values, operations = up.out_channels, 0, 0
        blocks = generator.resblocks[stage * generator.kernels : (stage + 1) * generator.kernels]
        for block in blocks:
            pairs = len(block.convs1)  # type: ignore[arg-type]
            # Both activations of each pair, and the sum that the next one begins with.
            values += (3 * pairs - 1) * channels * length
            kernel = block.convs1[0].kernel_size[0]  # type: ignore[index, union-attr]
            operations += 2 * pairs * 2 * kernel * channels**2 * length
        yield values, operations


def _judge(judge: nn.Module, samples: int) -> tuple[int, int]:
    """Count (values kept, operations) of a discriminator for one slice."""
    period = judge.period if isinstance(judge, PeriodDiscriminator) else 1
    length, values, operations = math.ceil(samples / period), 0, 0
    for conv in (*judge.convs, judge.conv_post):  # type: ignore[misc]
        length = (length + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1
        kept = conv.out_channels * length * period
        values += kept
        operations += 2 * kept * conv.in_channels // conv.groups * conv.kernel_size[0]
    return values, operations


def choose(parts: Sequence[Part], bytes_to_save: float) -> list[Part]:
    """Take the parts worth most until they save enough for one item; all when they cannot."""
    chosen: list[Part] = []
    for part in parts:
        if sum(each.kept_bytes for each in chosen) >= bytes_to_save:
            break
        chosen.append(part)
    return chosen


def recompute_as_asked(networks: Networks, asked: str, plan: TrainingPlan) -> str:
    """Set what the networks compute again, and say it in words; empty when nothing is.

    `asked` is `off`, `all`, the bytes that these parts may keep for a batch, or `auto`: as much as
    the memory model finds missing.
    """
    parts = table(networks, plan.precision)
    kept = sum(part.kept_bytes for part in parts)
    if asked == "all":
        chosen: list[Part] = list(parts)
    elif asked == "off" or (asked == "auto" and not plan.checkpointing):
        chosen = []
    elif asked == "auto":
        missing = plan.batch_size * plan.item_bytes - plan.activation_bytes
        chosen = choose(parts, max(1.0, missing / plan.batch_size))
    else:
        chosen = choose(parts, kept - int(asked) / plan.batch_size)
    recompute(networks, chosen)
    if not chosen:
        return ""
    names = ", ".join(f"{part.network} {part.number}" for part in chosen)
    saved = sum(part.kept_bytes for part in chosen) * plan.batch_size
    return (
        f"{len(chosen)} of {len(parts)} parts are computed again instead of kept ({names}): "
        f"{saved / 2**20:.0f} of {kept * plan.batch_size / 2**20:.0f} MB less."
    )


def recompute(networks: Networks, parts: Iterable[Part]) -> None:
    """Let exactly these parts be computed again instead of kept."""
    numbers: dict[str, set[int]] = {"generator": set(), "discriminator": set()}
    for part in parts:
        numbers[part.network].add(part.number)
    networks.generator.dec.recomputed = frozenset(numbers["generator"])
    networks.discriminator.recomputed = frozenset(numbers["discriminator"])


def recompute_more(networks: Networks) -> bool:
    """Compute everything again that can be; False when that is so already."""
    judges = range(len(networks.discriminator.discriminators))
    stages = range(len(networks.generator.dec.ups))
    before = networks.generator.dec.recomputed, networks.discriminator.recomputed
    after = frozenset(stages), frozenset(judges)
    networks.generator.dec.recomputed, networks.discriminator.recomputed = after
    return before != after
