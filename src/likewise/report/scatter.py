"""The map's data: every image as a point, packed so that a hundred thousand of them stay a small file."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.report.clusters import certain
from likewise.report.palette import MOST, palette
from likewise.report.pictures import SHEET_COLUMNS, Pictures
from likewise.report.reading import plain
from likewise.runs import Assignments

MOST_POINTS = 100_000
MOST_TILES = 6_000
MOST_LABELS = 40
_TILE_SIZES = ((2_000, 80), (3_000, 64), (MOST_TILES, 48))  # pixels of each picture, the more of them the fewer
_NAME_CHARACTERS = 8_000_000  # of all names together


@dataclass(frozen=True)
class Scatter:
    """The map as the page needs it."""

    payload: dict[str, Any]
    num_points: int
    num_images: int
    num_tiles: int


def scatter(assignments: Assignments, pictures: Pictures, names: dict[int, str]) -> Scatter | None:
    """The map of a clustering, whose clusters may have names; None where the run has no positions."""
    if assignments.positions is None or assignments.positions.shape != (len(assignments), 2):
        return None
    rows = np.flatnonzero(np.isfinite(assignments.positions).all(axis=1))
    if not len(rows):
        return None
    rows = thinned(rows, MOST_POINTS)
    places, extent = _unit(assignments.positions[rows].astype(np.float64))
    with_picture = np.array([row in pictures for row in rows], dtype=bool)
    tiles = thinned(np.flatnonzero(with_picture), MOST_TILES)
    tile = next(size for most, size in _TILE_SIZES if len(tiles) <= most)
    sheets, shown = pictures.sheets(rows[tiles], tile)
    clusters = assignments.clusters[rows]
    payload = {
        "x": _packed(places[:, 0] * 65535, "<u2"),
        "y": _packed(places[:, 1] * 65535, "<u2"),
        "extent": extent,
        "cluster": _packed(clusters, "<u4"),
        "confidence": _packed(certain(assignments)[rows] * 255, "u1"),
        "names": _names([assignments.names[row] for row in rows]),
        "sheets": sheets,
        "tile": tile,
        "columns": SHEET_COLUMNS,
        "tiles": _packed(tiles[shown], "<u4"),
        "labels": _labels(places, clusters),
        "called": {str(cluster): name for cluster, name in names.items()},
        "light": palette(assignments.num_clusters),
        "dark": palette(assignments.num_clusters, dark=True),
        "colours": min(assignments.num_clusters, MOST),
    }
    return Scatter(payload, len(rows), len(assignments), len(shown))


def thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of `rows`, drawn evenly at random with a fixed seed, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def script_json(value: Any) -> str:
    """JSON that is safe between `<script>` tags, whatever its texts hold.

    Example:
        >>> script_json("</script>")
        '"\\\\u003c/script\\\\u003e"'
    """
    # ASCII only, so U+2028 and lone surrogates are escaped as well
    written = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _unit(places: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Places in the unit square, both axes on one scale, and how much of the square each axis takes."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = max(float((high - low).max()), 1e-12)
    extent = (high - low) / span
    return np.clip((places - low) / span, 0.0, 1.0), [float(extent[0]), float(extent[1])]


def _labels(places: np.ndarray, clusters: np.ndarray) -> list[int]:
    """The point nearest to the middle of each of the largest clusters: where its number is written."""
    found, sizes = np.unique(clusters, return_counts=True)
    labels = []
    for cluster in found[np.argsort(-sizes, kind="stable")][:MOST_LABELS]:
        members = np.flatnonzero(clusters == cluster)
        distance = np.abs(places[members] - np.median(places[members], axis=0)).sum(axis=1)
        labels.append(int(members[distance.argmin()]))
    return labels


def _names(names: list[str]) -> list[str]:
    room = min(160, max(24, _NAME_CHARACTERS // max(1, len(names))))
    return [plain(name, room) for name in names]


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).round().astype(kind).tobytes()).decode("ascii")
