"""What conversions hand back: the facts, as plain values for JSON and in words for a person."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ConversionResult:
    """What a conversion made and how; `wave` is float32 [N] for waveforms, None for files.

    `stages` are wall seconds by stage, `seed` repeats the result, `peak_gain` is what the peak
    guard multiplied by (1 where nothing was too loud), `profile` time and memory per stage where
    they were asked for.
    """

    sample_rate: int
    samples: int
    stages: dict[str, float]
    warnings: list[str]
    voice: dict[str, Any]
    chunks: int
    seed: int | None
    peak_gain: float
    wave: np.ndarray | None = None
    source: Path | None = None
    target: Path | None = None
    profile: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.samples / self.sample_rate

    def record(self) -> dict[str, Any]:
        """Return everything but the sound as plain values, for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "wave"}
        plain["stages"] = {name: round(value, 4) for name, value in self.stages.items()}
        plain["seconds"] = round(self.seconds, 4)
        for name in ("source", "target"):
            plain[name] = None if plain[name] is None else str(plain[name])
        return plain

    def in_words(self) -> str:
        """Say what was made, with the warnings, one line each."""
        spent = sum(self.stages.values())
        made = f"{self.target or 'Sound'}: {self.seconds:.2f} s at {self.sample_rate} Hz"
        took = f"{spent:.1f} s of work ({', '.join(_shares(self.stages, spent))}); seed {self.seed}"
        return "\n".join([f"{made}, {took}", *(f"warning: {text}" for text in self.warnings)])


def _shares(stages: dict[str, float], total: float) -> list[str]:
    """Name the three largest stages with their share."""
    largest = sorted(stages.items(), key=lambda item: -item[1])[:3]
    return [f"{name} {seconds / max(total, 1e-9):.0%}" for name, seconds in largest]


@dataclass(frozen=True)
class FileFailure:
    """A file of a folder that could not be converted, and why."""

    source: Path
    message: str
    hint: str


@dataclass(frozen=True)
class FolderResult:
    """What became of the files of a folder; `skipped` counts files that are no sound.

    `profile` is time and memory per stage, where they were asked for.
    """

    source: Path
    target: Path
    converted: list[ConversionResult]
    failures: list[FileFailure]
    skipped: int
    profile: dict[str, Any] | None = None

    @property
    def warnings(self) -> list[str]:
        """All different warnings of the files."""
        return list(dict.fromkeys(text for done in self.converted for text in done.warnings))

    def record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "converted": [result.record() for result in self.converted],
            "failures": [
                {"source": str(f.source), "message": f.message, "hint": f.hint}
                for f in self.failures
            ],
            "skipped": self.skipped,
            "warnings": self.warnings,
            "profile": self.profile,
        }

    def in_words(self) -> str:
        """Say how many files were converted, and name each that failed with its reason."""
        total = len(self.converted) + len(self.failures)
        lines = [f"{self.target}: {len(self.converted)} of {total} files converted"]
        if self.skipped:
            lines[0] += f"; {self.skipped} that are no sound were left out"
        for failure in self.failures:
            lines.append(f"failed: {failure.source}: {failure.message} {failure.hint}".rstrip())
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])
