"""How large the clusters are and how sure their images: the geometry of two bar charts."""

import math
from dataclasses import dataclass

import numpy as np

from likewise.report.axes import tick_label, ticks
from likewise.report.clusters import certain
from likewise.report.palette import MOST
from likewise.runs import Assignments
from likewise.wording import count, percent, plural

MOST_ROWS = 40  # more clusters than this become thin columns
MOST_COLUMNS = 1000
SURE = 0.9
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 230, 40, 36, 12


@dataclass(frozen=True)
class Bar:
    """One cluster's bar: all of its images, and the part of them that are sure."""

    cluster: int
    colour: int
    size: str
    share: str
    length: float
    sure_length: float


@dataclass(frozen=True)
class Column:
    """One upright bar, in the coordinates of its drawing."""

    x: float
    y: float
    width: float
    height: float
    colour: int | None
    hint: str


@dataclass(frozen=True)
class Columns:
    """A chart of upright bars."""

    columns: list[Column]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_label: str
    line: float | None
    description: str


@dataclass(frozen=True)
class Sizes:
    """What the section shows: rows for few clusters, thin columns for many; `sure` is where a sure image begins."""

    rows: list[Bar]
    sure: str
    columns: Columns | None
    balanced: float
    balanced_words: str
    histogram: Columns


def cluster_sizes(assignments: Assignments) -> Sizes:
    """The two charts of a clustering with at least one image."""
    confidence = certain(assignments)
    num_clusters = assignments.num_clusters
    sizes = np.bincount(assignments.clusters, minlength=num_clusters)
    threshold = sure_above(confidence)
    sure = np.bincount(assignments.clusters[confidence > threshold], minlength=num_clusters)
    balanced = len(assignments) / num_clusters
    few = num_clusters <= MOST_ROWS
    longest = 1.04 * max(float(sizes.max()), balanced)
    rows = [
        Bar(
            cluster,
            cluster % MOST,
            count(sizes[cluster]),
            percent(sizes[cluster] / len(assignments)),
            round(100 * float(sizes[cluster]) / longest, 2),
            round(100 * float(sure[cluster]) / longest, 2),
        )
        for cluster in range(num_clusters if few else 0)
    ]
    return Sizes(
        rows=rows,
        sure=f"{threshold:g}",
        columns=None if few else _by_size(sizes, balanced),
        balanced=round(100 * balanced / longest, 2),
        balanced_words=f"{balanced:,.1f}".removesuffix(".0"),
        histogram=_histogram(confidence),
    )


def sure_above(confidence: np.ndarray) -> float:
    """The confidence above which an image counts as sure: `SURE`, or that share of the largest one if none is so sure.

    A temperature can keep all confidences low, and bars without any sure image would say that the groups are bad.

    Example:
        >>> sure_above(np.array([0.2, 0.95])), sure_above(np.array([0.2, 0.61]))
        (0.9, 0.54)
    """
    largest = float(confidence.max())
    return SURE if largest > SURE else math.floor(100 * SURE * largest) / 100


def _by_size(sizes: np.ndarray, balanced: float) -> Columns:
    order = np.argsort(-sizes, kind="stable")[:MOST_COLUMNS]
    top = 1.05 * max(float(sizes.max()), balanced)
    width = (_WIDTH - _LEFT) / len(order)
    columns = [
        Column(
            x=round(_LEFT + place * width, 3),
            y=_height(size, top),
            width=round(width * (0.8 if len(order) < 150 else 1.02), 3),
            height=round(_HEIGHT - _BOTTOM - _height(size, top), 2),
            colour=cluster % MOST,
            hint=f"cluster {cluster}: {count(size)}",
        )
        for place, (cluster, size) in enumerate(zip(order.tolist(), sizes[order].tolist(), strict=True))
        if size
    ]
    return Columns(
        columns=columns,
        x_ticks=[],
        y_ticks=[(_height(value, top), tick_label(value)) for value in ticks(0.0, top, about=5)],
        x_label="clusters, the largest first",
        line=_height(balanced, top),
        description=f"Sizes of {count(len(sizes))} clusters: {count(sizes.max())} to {plural(sizes.min(), 'image')}",
    )


def _histogram(confidence: np.ndarray) -> Columns:
    bins = 20
    counts, _ = np.histogram(confidence, bins=bins, range=(0.0, 1.0))
    shares = counts / len(confidence)
    top = 1.05 * float(shares.max())
    width = (_WIDTH - _LEFT - 8) / bins
    columns = [
        Column(
            x=round(_LEFT + index * width + 0.75, 2),
            y=_height(share, top),
            width=round(width - 1.5, 2),
            height=round(_HEIGHT - _BOTTOM - _height(share, top), 2),
            colour=None,
            hint=f"{index / bins:.2f} to {(index + 1) / bins:.2f}: {plural(counts[index], 'image')} ({percent(share)})",
        )
        for index, share in enumerate(shares.tolist())
        if share
    ]
    return Columns(
        columns=columns,
        x_ticks=[(round(_LEFT + bins * width * value, 1), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)],
        y_ticks=[(_height(value, top), f"{100 * value:g} %") for value in ticks(0.0, top, about=5)],
        x_label="confidence",
        line=None,
        description=f"Confidences of all images: {percent(float((confidence > SURE).mean()))} are above {SURE}",
    )


def _height(value: float, top: float) -> float:
    return round(_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP), 2)
