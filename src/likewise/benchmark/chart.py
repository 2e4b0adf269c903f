"""Quality over time as one line for each method, in an SVG file."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from likewise.report.axes import tick_label, ticks
from likewise.report.palette import palette

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 24, 48
POINTS = 40

Curve = list[dict[str, float]]


def mean_curve(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and mean accuracy of several seeds, over the time that all of them cover."""
    first = max(curve[0]["seconds"] for curve in curves)
    last = min(curve[-1]["seconds"] for curve in curves)
    seconds = np.linspace(min(first, last), last, POINTS)
    series = [np.interp(seconds, [p["seconds"] for p in curve], [p["acc"] for p in curve]) for curve in curves]
    return seconds, np.mean(series, axis=0)


def quality_svg(curves: Mapping[str, Sequence[Curve]]) -> str:
    """The chart.

    Args:
        curves: Of every method, one for each seed: points with `seconds` and `acc`, earliest first and at least one.
    """
    lines = {name: mean_curve(seeds) for name, seeds in curves.items()}
    longest = max(seconds[-1] for seconds, _ in lines.values()) or 1.0
    highest = min(1.0, max(values.max() for _, values in lines.values()) * 1.1) or 1.0

    def x(seconds: float) -> float:
        return round(LEFT + seconds / longest * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / highest * (HEIGHT - TOP - BOTTOM), 1)

    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13" fill="#444">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for value in ticks(0.0, highest):
        parts.append(f'<path d="M{LEFT} {y(value)} H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{tick_label(value)}</text>')
    parts += [
        f'<text x="{x(value)}" y="{bottom + 18}" text-anchor="middle">{tick_label(value)}</text>'
        for value in ticks(0.0, longest, about=6)
    ]
    parts.append(f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">seconds of training</text>')
    parts.append(f'<text x="{LEFT}" y="14">ACC on a sample of the training images, mean over seeds</text>')
    for place, ((name, (seconds, values)), colour) in enumerate(zip(lines.items(), palette(len(lines)), strict=False)):
        points = " ".join(f"{x(s)},{y(v)}" for s, v in zip(seconds.tolist(), values.tolist(), strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{right + 12}" y="{TOP + 16 + 20 * place}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
