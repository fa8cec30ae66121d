"""Pictures as SVG text, drawn here so that the page needs nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvc_colab.audio.files import AudioReader, read
from rvc_colab.audio.filters import resample
from rvc_colab.config import CONTENT_RATE, F0_MAX_HZ, F0_MIN_HZ, FRAMES_PER_SECOND

WIDTH, HEIGHT = 720, 96
_COLUMNS = 480
_PITCH_SECONDS = 60.0  # pitch is found for the beginning only: a picture, not a measurement
_BLOCK_SECONDS = 10.0
_MOST_POINTS = 2000


@dataclass(frozen=True)
class Look:
    """What a picture of a sound needs: peaks per column, pitch in Hz at 100 Hz, and its length."""

    seconds: float
    peaks: np.ndarray
    f0_hz: np.ndarray


def look_at(path: Path, estimator: object = None) -> Look:
    """Read a sound for its picture; `estimator` finds its pitch (none: no curve)."""
    with AudioReader(path) as reader:
        columns = np.zeros(_COLUMNS, dtype=np.float32)
        at, total = 0, max(1, reader.samples)
        for block in reader.blocks(_BLOCK_SECONDS):
            places = (np.arange(at, at + len(block)) * _COLUMNS // total).clip(0, _COLUMNS - 1)
            np.maximum.at(columns, places, np.abs(block))
            at += len(block)
        seconds = at / reader.sample_rate
    f0_hz = np.zeros(0, dtype=np.float32)
    if callable(estimator):
        f0_hz = np.asarray(estimator(_beginning(path, seconds)))
    return Look(seconds, columns, f0_hz)


def _beginning(path: Path, seconds: float) -> np.ndarray:
    if seconds <= _PITCH_SECONDS:
        return read(path, CONTENT_RATE)[0]
    with AudioReader(path) as reader:
        return resample(next(iter(reader.blocks(_PITCH_SECONDS))), reader.sample_rate, CONTENT_RATE)


def sound_picture(look: Look, title: str) -> str:
    """Draw a waveform with its pitch curve over it (logarithmic, 50 to 1100 Hz)."""
    middle = HEIGHT / 2
    scale = WIDTH / max(1, len(look.peaks))
    tops = [f"{i * scale:.1f},{middle - p * middle:.1f}" for i, p in enumerate(look.peaks)]
    downs = [f"{i * scale:.1f},{middle + p * middle:.1f}" for i, p in enumerate(look.peaks)]
    wave = f'<polygon class="wave" points="{" ".join([*tops, *reversed(downs)])}"/>'
    return _svg(title, wave + "".join(_pitch_lines(look)))


def _pitch_lines(look: Look) -> list[str]:
    span = math.log(F0_MAX_HZ / F0_MIN_HZ)
    lines, points = [], []
    step = max(1, len(look.f0_hz) // 1200)
    for frame in range(0, len(look.f0_hz), step):
        hertz = float(look.f0_hz[frame])
        if hertz > 0:
            x = frame / FRAMES_PER_SECOND / max(look.seconds, 1e-6) * WIDTH
            y = HEIGHT * (1 - math.log(max(hertz, F0_MIN_HZ) / F0_MIN_HZ) / span)
            points.append(f"{x:.1f},{y:.1f}")
        elif points:
            lines.append(points)
            points = []
    lines.append(points)
    return [f'<polyline class="pitch" points="{" ".join(p)}"/>' for p in lines if len(p) > 1]


def curve_picture(title: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw curves of (x, y), each on its own scale, with their names and last values below."""
    lines: list[str] = []
    names: list[str] = []
    for name, points in curves.items():
        known = [(x, y) for x, y in points if math.isfinite(y)][-_MOST_POINTS:]
        if len(known) < 2:
            continue
        colour = f"c{len(names) % 6}"
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in _fitted(known))
        lines.append(f'<polyline class="curve {colour}" points="{line}"/>')
        words = f"{html.escape(name)} {known[-1][1]:.3g}"
        names.append(f'<span class="rvc-curve-name {colour}">{words}</span>')
    return _svg(title, "".join(lines)) + f"<div>{' '.join(names)}</div>" if lines else ""


def _fitted(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Scale points into the picture, with a small margin above and below."""
    (x_low, x_high), (y_low, y_high) = ((min(v), max(v)) for v in zip(*points, strict=True))
    wide, high = max(x_high - x_low, 1e-9), max(y_high - y_low, 1e-9)
    for x, y in points:
        yield (x - x_low) / wide * WIDTH, HEIGHT - 6 - (y - y_low) / high * (HEIGHT - 12)


def chart(svg: str, title: str) -> str:
    """Show a chart that is a picture of its own; its styles stay inside it."""
    words, data = html.escape(title), base64.b64encode(svg.encode()).decode()
    return f'<img class="rvc-chart" alt="{words}" src="data:image/svg+xml;base64,{data}">'


def bar(share: float, words: str) -> str:
    """Draw a share (0..1) as a bar with words beside it."""
    percent = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<div class="rvc-bar" role="img" aria-label="{html.escape(words)} {percent:.0f} %">'
        f'<span style="width:{percent:.1f}%"></span></div><div>{html.escape(words)}</div>'
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay rows out as a table that scrolls sideways on narrow screens."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="rvc-table"><table>{inner}</table></div>'


def _svg(title: str, inner: str) -> str:
    words = html.escape(title)
    return (
        f'<svg class="rvc-picture" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{words}"><title>{words}</title>{inner}</svg>'
    )
