"""Small charts as SVG text: curves, histograms and dots, without a drawing library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 320, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 26, 24
_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#64748b")
_MOST_POINTS = 400
Points = Sequence[tuple[float, float]]


def curves(title: str, lines: Mapping[str, Points], mark: float | None = None) -> str:
    """Draw lines over one axis; `mark` is an x to point at (the best step)."""
    kept = {name: _finite(points) for name, points in lines.items()}
    every = [point for points in kept.values() for point in points]
    if not every:
        return _panel(title, _nothing())
    span = _span([x for x, _ in every]), _span([y for _, y in every])
    body = _axes(*span)
    if mark is not None and span[0][0] <= mark <= span[0][1]:
        x = _x(mark, span[0])
        body += f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" class="mark"/>'
    for number, (name, points) in enumerate(kept.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{_x(x, span[0])},{_y(y, span[1])}" for x, y in _thinned(points))
        body += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        if len(points) == 1:  # a line of one point is none
            left, top = path.split(",")
            body += f'<circle cx="{left}" cy="{top}" r="2" fill="{colour}"/>'
        if len(kept) > 1:
            at = _LEFT + 6 + 88 * number
            body += f'<text x="{at}" y="{_TOP - 2}" style="fill:{colour}">{escape(name)}</text>'
    return _panel(title, body)


def histogram(title: str, values: Sequence[float], bins: int = 16) -> str:
    """Draw how often values fall where."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return _panel(title, _nothing())
    low, high = _span(kept)
    counts = [0] * bins
    for value in kept:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    spans = (low, high), (0.0, float(max(counts)))
    body, width = _axes(*spans), (WIDTH - _LEFT - _RIGHT) / bins
    for number, count in enumerate(counts):
        y = _y(count, spans[1])
        tall = round(HEIGHT - _BOTTOM - y, 1)
        body += (
            f'<rect x="{_LEFT + number * width:.1f}" y="{y}" width="{width - 1:.1f}" '
            f'height="{tall}" fill="{_COLOURS[0]}"/>'
        )
    return _panel(title, body)


def dots(title: str, groups: Mapping[str, Points]) -> str:
    """Draw points on a plane, one colour per group."""
    every = [point for points in groups.values() for point in _finite(points)]
    if not every:
        return _panel(title, _nothing())
    span, body = (_span([x for x, _ in every]), _span([y for _, y in every])), ""
    for number, (name, points) in enumerate(groups.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        for x, y in _thinned(_finite(points)):
            body += f'<circle cx="{_x(x, span[0])}" cy="{_y(y, span[1])}" r="2" fill="{colour}"/>'
        at = _LEFT + 6 + 88 * number
        body += f'<text x="{at}" y="{_TOP - 2}" style="fill:{colour}">{escape(name)}</text>'
    return _panel(title, _axes(*span) + body)


def page(panels: Sequence[str], columns: int = 2) -> str:
    """Put panels side by side into one picture: a whole SVG file."""
    rows = -(-len(panels) // columns)
    size = f'width="{columns * WIDTH}" height="{rows * HEIGHT}"'
    placed = "".join(
        panel.replace(
            "<svg ", f'<svg x="{WIDTH * (i % columns)}" y="{HEIGHT * (i // columns)}" ', 1
        )
        for i, panel in enumerate(panels)
    )
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{background}{placed}</svg>\n'


def _panel(title: str, body: str) -> str:
    style = (
        "<style>text{font:10px sans-serif;fill:#475569}.title{font-size:11px;font-weight:bold}"
        ".axis{stroke:#94a3b8}.mark{stroke:#059669;stroke-dasharray:4 3}</style>"
    )
    head = f'<text x="{_LEFT}" y="12" class="title">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{style}{head}{body}</svg>'
    )


def _nothing() -> str:
    return f'<text x="{_LEFT}" y="{HEIGHT // 2}">nothing measured</text>'


def _axes(x: tuple[float, float], y: tuple[float, float]) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    return (
        f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" class="axis"/>'
        f'<line x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{bottom}" class="axis"/>'
        f'<text x="{_LEFT}" y="{HEIGHT - 8}">{x[0]:.3g}</text>'
        f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{x[1]:.4g}</text>'
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{y[0]:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 8}" text-anchor="end">{y[1]:.3g}</text>'
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _x(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / (span[1] - span[0])
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / (span[1] - span[0])
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thinned(points: Points) -> list[tuple[float, float]]:
    step = max(1, len(points) // _MOST_POINTS)
    return [*points[:-1:step], *points[-1:]]
