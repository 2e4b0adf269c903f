"""Training curves as the geometry of small line charts; the template draws them."""

from dataclasses import dataclass

import numpy as np

from likewise.report.axes import tick_label, ticks
from likewise.report.reading import plain
from likewise.wording import compact, count, heading

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34
MOST_POINTS = 400
MOST_CURVES = 24
_AXES = ("step", "epoch", "seconds")


@dataclass(frozen=True)
class Curve:
    """One small line chart, in the coordinates of its own drawing."""

    title: str
    last: str
    line: str
    band: str
    dots: list[tuple[float, float]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_label: str
    note: str
    description: str


def curves(log: dict[str, np.ndarray]) -> list[Curve]:
    """A chart for every column of the log that holds numbers, the losses first."""
    columns = {name: values for name, values in log.items() if isinstance(name, str) and values.ndim == 1}
    names = [name for name in columns if name not in _AXES and np.isfinite(columns[name]).any()]
    names.sort(key=_rank)
    return [_curve(name, columns, *_axis(columns, len(columns[name]))) for name in names[:MOST_CURVES]]


def _rank(name: str) -> int:
    if name == "loss":
        return 0
    if name.endswith("loss"):
        return 1
    return 3 if name == "lr" else 2


def _axis(columns: dict[str, np.ndarray], length: int) -> tuple[np.ndarray, str]:
    for name in _AXES:
        if name in columns and np.isfinite(columns[name]).all():
            return columns[name], name
    return np.arange(length, dtype=np.float64), "row of the log"


def _curve(name: str, columns: dict[str, np.ndarray], steps: np.ndarray, x_label: str) -> Curve:
    order = np.argsort(steps, kind="stable")
    x, y = steps[order], columns[name][order]
    finite = np.isfinite(y)
    # a column that is logged now and then is joined; one that is logged always shows its gaps
    sparse = finite.mean() < 0.5
    frame = _Frame(x, y[finite])
    if sparse:
        x, y = x[finite], y[finite]
    middle, low, high, at = _buckets(x, y)
    has_band = len(y) > MOST_POINTS
    # before its first number a term is not there yet, which is no gap
    gaps = 0 if sparse else int((~finite[finite.argmax() :]).sum())
    shown = y[np.isfinite(y)]
    title = heading(plain(name, 60))
    return Curve(
        title=title,
        last=compact(float(shown[-1])),
        line=frame.line(at, middle),
        band=frame.band(at, low, high) if has_band else "",
        dots=frame.lone(at, middle),
        x_ticks=[(frame.x(value), tick_label(value)) for value in ticks(frame.x_low, frame.x_high, about=5)],
        y_ticks=[(frame.y(value), tick_label(value)) for value in ticks(frame.y_low, frame.y_high)],
        x_label=x_label,
        note=f"not a number in {count(gaps)} of {count(len(finite))} rows" if gaps else "",
        description=f"{title}: from {compact(float(shown[0]))} to {compact(float(shown[-1]))}",
    )


def _buckets(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, least and largest value of each run of neighbours, and where it is; NaN where none is finite."""
    parts = np.array_split(np.arange(len(y)), min(len(y), MOST_POINTS))
    rows = np.full((4, len(parts)), np.nan)
    for index, part in enumerate(parts):
        rows[3, index] = x[part].mean()
        values = y[part][np.isfinite(y[part])]
        if len(values):
            rows[:3, index] = values.mean(), values.min(), values.max()
    return rows[0], rows[1], rows[2], rows[3]


class _Frame:
    """From values to places in the drawing."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x_low, self.x_high = float(x.min()), float(x.max())
        # beyond this no axis can be labelled, and differences overflow
        low, high = (float(np.clip(value, -1e30, 1e30)) for value in (y.min(), y.max()))
        pad = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
        self.y_low, self.y_high = (low if 0 <= low < 1e-9 else low - pad), high + pad

    def x(self, value: float) -> float:
        span = self.x_high - self.x_low
        share = (value - self.x_low) / span if span > 0 else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (min(max(value, self.y_low), self.y_high) - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def place(self, x: float, y: float) -> str:
        return f"{self.x(x)} {self.y(y)}"

    def path(self, x: np.ndarray, y: np.ndarray) -> str:
        return "M" + " L".join(map(self.place, x.tolist(), y.tolist()))

    def line(self, x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(self.path(x[part], y[part]) for part in _runs(y) if len(part) > 1)

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
        outlines = [(np.r_[part, part[::-1]], np.r_[high[part], low[part][::-1]]) for part in _runs(low)]
        return " ".join(f"{self.path(x[there_and_back], y)}Z" for there_and_back, y in outlines)

    def lone(self, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        alone = [int(part[0]) for part in _runs(y) if len(part) == 1]
        return [(self.x(float(x[at])), self.y(float(y[at]))) for at in alone]


def _runs(values: np.ndarray) -> list[np.ndarray]:
    """Indices of finite values, split where something is missing between them."""
    finite = np.flatnonzero(np.isfinite(values))
    return np.split(finite, np.flatnonzero(np.diff(finite) > 1) + 1) if len(finite) else []
