"""Scores against labels, where a run has them: the table, the confusion of clusters and classes, each class."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.report.reading import items, number, table, text
from likewise.wording import count, percent, plural, score

MOST_SIDE = 50
_NUMBERED_SIDE = 20  # a larger table shows shades alone
_METRICS = ("acc", "nmi", "ari", "ami")
_PROTOCOLS = {
    "all": "Protocol “all”: the images that were clustered are the images that are scored.",
    "split": "Protocol “split”: trained on one part of the data, scored on another that training never saw.",
}


@dataclass(frozen=True)
class Cell:
    """One number of a table, and whether it is the best of its column."""

    said: str
    best: bool = False


@dataclass(frozen=True)
class Heat:
    """Clusters by classes; a shade from 0 to 10 says which share of the cluster is of the class."""

    classes: list[str]
    rows: list[tuple[str, list[tuple[str, int, str]]]]
    numbered: bool
    note: str


@dataclass(frozen=True)
class Evaluation:
    """One evaluation as the page shows it."""

    title: str
    protocol: str
    metrics: list[str]
    rows: list[tuple[str, list[Cell]]]
    heat: Heat | None
    classes: list[tuple[str, list[str]]]
    more_classes: int


def evaluations(metrics: dict[str, Any]) -> list[Evaluation]:
    """Every evaluation in the metrics of a run that holds at least one number."""
    made = [_evaluation(table(entry)) for entry in items(metrics.get("evaluations"))[:12]]
    return [evaluation for evaluation in made if evaluation.rows]


def _evaluation(entry: dict[str, Any]) -> Evaluation:
    rows = [table(row) for row in items(entry.get("rows"))[:40]]
    rows = [row for row in rows if any(number(row.get(name)) is not None for name in _METRICS)]
    shown = [name for name in _METRICS if any(number(row.get(name)) is not None for row in rows)]
    protocol = text(entry.get("protocol"), 40)
    per_class = [table(row) for row in items(entry.get("per_class"))]
    return Evaluation(
        title=_title(entry),
        protocol=_PROTOCOLS.get(protocol, f"Protocol “{protocol}”." if protocol else ""),
        metrics=[name.upper() for name in shown],
        rows=_cells(rows, shown),
        heat=_heat(table(entry.get("confusion"))),
        classes=[_class_row(row) for row in per_class[:MOST_SIDE] if row],
        more_classes=max(0, len(per_class) - MOST_SIDE),
    )


def _title(entry: dict[str, Any]) -> str:
    images, classes = number(entry.get("num_images")), number(entry.get("num_classes"))
    parts = [text(entry.get("data"), 80) or "Labelled images"]
    if images is not None:
        parts.append(plural(round(images), "image"))
    if classes is not None:
        parts.append(plural(round(classes), "class", "classes"))
    return ", ".join(parts)


def _cells(rows: list[dict[str, Any]], shown: list[str]) -> list[tuple[str, list[Cell]]]:
    best = {name: max(filled) for name in shown if len(filled := _column(rows, name)) > 1}
    made = []
    for row in rows:
        values = [(name, number(row.get(name))) for name in shown]
        cells = [Cell("-") if v is None else Cell(score(v), name in best and v == best[name]) for name, v in values]
        made.append((text(row.get("name"), 120) or "unnamed", cells))
    return made


def _column(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [value for row in rows if (value := number(row.get(name))) is not None]


def _class_row(row: dict[str, Any]) -> tuple[str, list[str]]:
    images = number(row.get("images"))
    shares = [number(row.get(name)) for name in ("recall", "precision")]
    return text(row.get("class"), 80) or "unnamed", [
        count(images) if images is not None else "-",
        text(row.get("cluster"), 20) or "-",
        *("-" if value is None else score(value) for value in shares),
    ]


def _heat(confusion: dict[str, Any]) -> Heat | None:
    counts = _counts(confusion.get("counts"))
    if counts is None:
        return None
    clusters = _names(confusion.get("clusters"), counts.shape[0])
    classes = _names(confusion.get("classes"), counts.shape[1])
    by_size = np.argsort(-counts.sum(axis=1), kind="stable")
    by_class = np.argsort(-counts.sum(axis=0), kind="stable")
    clusters_kept = by_size[counts.sum(axis=1)[by_size] > 0][:MOST_SIDE]
    classes_kept = np.sort(by_class[:MOST_SIDE])
    kept = counts[np.ix_(clusters_kept, classes_kept)]
    if not kept.size:
        return None
    # clusters stand in the order of their main class, so that agreement runs down the diagonal
    order = np.argsort(kept.argmax(axis=1), kind="stable")
    kept, clusters_kept = kept[order], clusters_kept[order]
    whole = counts[clusters_kept].sum(axis=1)
    named = [classes[index] for index in classes_kept]
    rows = [
        (
            clusters[cluster],
            [_shade(value, total, clusters[cluster], name) for value, name in zip(row, named, strict=True)],
        )
        for cluster, row, total in zip(clusters_kept.tolist(), kept.tolist(), whole.tolist(), strict=True)
    ]
    return Heat(named, rows, max(kept.shape) <= _NUMBERED_SIDE, _cut(counts.shape, kept.shape))


def _counts(value: Any) -> np.ndarray | None:
    rows = [items(row) for row in items(value)]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        return None
    return np.array([[min(max(number(cell) or 0.0, 0.0), 1e12) for cell in row] for row in rows])


def _names(value: Any, length: int) -> list[str]:
    names = [text(name, 60) for name in items(value)]
    return names if len(names) == length else [str(index) for index in range(length)]


def _shade(value: float, total: float, cluster: str, name: str) -> tuple[str, int, str]:
    share = value / total
    hint = f"cluster {cluster}, {name}: {plural(round(value), 'image')}, {percent(share)} of the cluster"
    return count(value) if value else "", (max(1, round(10 * share)) if value else 0), hint


def _cut(full: tuple[int, ...], kept: tuple[int, ...]) -> str:
    if full == kept:
        return ""
    return (
        f"Shown are the largest {kept[0]} of {count(full[0])} clusters and {kept[1]} of {count(full[1])} classes; "
        "empty clusters are left out."
    )
