"""What the journey of a voice hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class TrainingResult:
    """The voice file, its index (None when none was asked for), a report, and warnings."""

    voice: Path
    index: Path | None
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"voice": str(self.voice), "index": str(self.index or ""), **self.report}

    def in_words(self) -> str:
        """Say in a few lines what was made and what was left out."""
        position, ended = self.report["position"], self.report["ended"]
        lines = [
            *([str(self.report["verdict"])] if "verdict" in self.report else []),
            f"{self.voice}: {position['step']} steps, {position['epoch']} epochs, {ended}.",
            *([f"{self.index}: the index beside it."] if self.index else []),
            *(f"Note: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)


@dataclass
class MadeFile:
    """A file that a step wrote."""

    path: Path
    what: str
    warnings: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {self.what: str(self.path), "warnings": self.warnings}

    def in_words(self) -> str:
        """Say where the file is."""
        return "\n".join(
            [f"{self.path}: the {self.what}.", *(f"Note: {line}" for line in self.warnings)]
        )
