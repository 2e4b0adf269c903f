"""Charts of several lines: their geometry; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from likewise.report.axes import tick_label, ticks

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 230, 40, 8, 12, 36


@dataclass(frozen=True)
class Line:
    """One line, or an outline with its area, and which of the chart's colours it has."""

    path: str
    colour: int
    filled: bool


@dataclass(frozen=True)
class Plot:
    """A chart in the coordinates of its drawing; `mark` is where an upright dashed line goes."""

    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_label: str
    mark: float | None
    description: str


class Frame:
    """From values to places in the drawing; upright, everything starts at 0.

    Args:
        x_low: Value at the left edge.
        x_high: Value at the right edge.
        top: Value at the upper edge.
    """

    def __init__(self, x_low: float, x_high: float, top: float) -> None:
        self.x_low, self.x_high, self.top = x_low, x_high, top

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def percents(self) -> list[tuple[float, str]]:
        """Ticks upright, of shares."""
        return [(self.y(value), f"{tick_label(round(100 * value, 9))} %") for value in ticks(0.0, self.top)]


def steps(frame: Frame, shares: Sequence[float]) -> str:
    """The outline of a histogram whose bins fill the width, closed along the bottom."""
    width = (frame.x_high - frame.x_low) / len(shares)
    edges = [frame.x(frame.x_low + index * width) for index in range(len(shares) + 1)]
    rises = "".join(f"V{frame.y(share)}H{right}" for share, right in zip(shares, edges[1:], strict=True))
    return f"M{edges[0]} {frame.y(0)}{rises}V{frame.y(0)}Z"


def through(frame: Frame, points: Sequence[tuple[float, float | None]]) -> str:
    """A line through points from left to right, with a gap where a value is missing."""
    path, pen = "", "M"
    for x, y in points:
        if y is None:
            pen = "M"
        else:
            path += f"{pen}{frame.x(x)} {frame.y(y)}"
            pen = "L"
    return path
