"""How far apart the clusters are and how wide: numbers, and the geometry of a heat map."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.report.reading import items, number, table, text

MOST_SIDE = 50
_NUMBERED_SIDE = 12  # a larger map shows shades alone
_LARGEST = 1e30  # beyond this no number can be shown
_SIZE, _MARGIN = 420, 26
_PARTS = (
    ("backbone", "Model: its clusters in the features"),
    ("representation", "Representation: K-means on the features"),
    ("instance", "Model: its clusters in the instance part"),
)
_NUMBERS = (
    ("min_distance", "Smallest distance of two clusters"),
    ("mean_distance", "Mean distance"),
    ("mean_spread", "Mean spread within a cluster"),
    ("silhouette", "Silhouette (-1 to 1, higher is better)"),
    ("davies_bouldin", "Davies-Bouldin (lower is better)"),
)
_AGREEMENT = (("nmi", "Agreement with the model, NMI"), ("ari", "Agreement with the model, ARI"))


@dataclass(frozen=True)
class Square:
    """One pair of clusters, or on the diagonal a cluster alone, in the coordinates of the drawing."""

    x: float
    y: float
    shade: float
    own: bool
    said: str
    hint: str


@dataclass(frozen=True)
class DistanceMap:
    """Clusters against clusters."""

    squares: list[Square]
    side: float
    labels: list[tuple[float, str]]
    description: str


@dataclass(frozen=True)
class Geometry:
    """The clusters in one feature space."""

    title: str
    numbers: list[tuple[str, str]]
    map: DistanceMap | None


def geometries(metrics: dict[str, Any]) -> list[Geometry]:
    """What the metrics of a run say of its clusters in each feature space."""
    entries = table(metrics.get("geometry"))
    made = [_geometry(title, table(entries.get(part))) for part, title in _PARTS]
    return [geometry for geometry in made if geometry.numbers]


def _geometry(title: str, entry: dict[str, Any]) -> Geometry:
    agreement = table(entry.get("agreement"))
    values = [(words, number(entry.get(name))) for name, words in _NUMBERS]
    values += [(words, number(agreement.get(name))) for name, words in _AGREEMENT]
    return Geometry(title, [(words, _digits(value)) for words, value in values if value is not None], _map(entry))


def _map(entry: dict[str, Any]) -> DistanceMap | None:
    clusters, spreads = items(entry.get("clusters"))[:MOST_SIDE], items(entry.get("spreads"))
    rows = [items(row) for row in items(entry.get("distances"))]
    count = len(clusters)
    if count < 2 or min(len(spreads), len(rows), *map(len, rows)) < count:
        return None
    values = np.array([[_length(rows[i][j] if i != j else spreads[i]) for j in range(count)] for i in range(count)])
    side = (_SIZE - _MARGIN) / count
    names = [text(cluster, 12) for cluster in clusters]
    every = -(-count // 25)  # labels closer than this would run into each other
    return DistanceMap(
        squares=[_square(values, names, i, j, side) for i in range(count) for j in range(count)],
        side=round(0.94 * side, 2),
        labels=[(round(_MARGIN + (at + 0.47) * side, 2), names[at]) for at in range(0, count, every)],
        description=f"Distances between the means of {count} clusters, and on the diagonal the spread within each",
    )


def _square(values: np.ndarray, names: list[str], i: int, j: int, side: float) -> Square:
    value = float(values[i, j])
    hint = f"clusters {names[i]} and {names[j]}: {_digits(value)} apart"
    if i == j:
        hint = f"cluster {names[i]}: {_digits(value)} from its mean, on average"
    return Square(
        x=round(_MARGIN + j * side, 2),
        y=round(_MARGIN + i * side, 2),
        shade=round(0.04 + 0.96 * value / (float(values.max()) or 1.0), 3),
        own=i == j,
        said=f"{value:#.3g}".rstrip(".") if len(names) <= _NUMBERED_SIDE else "",
        hint=hint,
    )


def _digits(value: float) -> str:
    """With as many digits for all, that they can be compared."""
    return f"{value:#.4g}".rstrip(".")


def _length(value: Any) -> float:
    return min(max(number(value) or 0.0, 0.0), _LARGEST)
