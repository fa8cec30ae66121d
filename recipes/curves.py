"""Draw the recipes' logs: `python -m recipes.curves` writes `recipes/logs/curves.png`."""

from __future__ import annotations

import re
from pathlib import Path

LOGS = Path(__file__).parent / "logs"
# Log, how a line names its step, and the curves drawn of it.
PANELS = (
    ("tiny_encoder.log", r"step (\d+) ", ("phone", "picture")),
    ("base_voice.log", r"step (\d+) ", ("mel",)),
    ("demo_voice.jsonl", r"step\W+(\d+)", ("mel", "feature", "adversarial", "discriminator")),
    ("demo_voice.jsonl", r"step\W+(\d+)", ("validation/mel",)),
)


def read_curve(text: str, step: str, name: str) -> tuple[list[int], list[float]]:
    """Return the steps and values that a log's lines tell of one loss."""
    found = re.findall(rf"{step}.*?(?<![/\w]){name}\W+?(-?[\d.]+)", text)
    return [int(at) for at, _ in found], [float(value) for _, value in found]


def main() -> None:
    """Draw one panel for each log."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(18, 4), layout="constrained")
    for axis, (log, step, names) in zip(axes, PANELS, strict=True):
        text = (LOGS / log).read_text(encoding="utf-8")
        for name in names:
            axis.plot(*read_curve(text, step, name), label=name, linewidth=1)
        axis.set(title=log, xlabel="step", yscale="log")
        axis.legend()
    figure.savefig(LOGS / "curves.png", dpi=80)


if __name__ == "__main__":
    main()
