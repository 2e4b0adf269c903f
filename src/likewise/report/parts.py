"""What each part of the output knows, where a run was analysed: probes, similarities, temperatures, two maps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.evaluation import PUBLISHED
from likewise.report.palette import MOST
from likewise.report.plots import Frame, Line, Plot, steps, through
from likewise.report.reading import items, number, table, text
from likewise.report.scatter import thinned
from likewise.runs import Assignments, PartMaps
from likewise.wording import percent, plural, score

MAP_SIDE, MAP_EDGE = 400, 8
_MOST_POINTS = 3000
_MOST_BINS = 200
_PARTS = {"backbone": "Backbone features", "categorical": "Categorical part z_c", "instance": "Instance part z_n"}
_KINDS = {
    "augmented": "Two views of an image",
    "same": "Two images of a class",
    "different": "Two images of different classes",
    "other": "Two different images",
}
_CURVES = (
    ("mean_confidence", "Mean confidence"),
    ("above_95", "Share of images above .95"),
    ("above_99", "Share of images above .99"),
    ("accuracy_99", "Of those above .99: in the right class"),
)
_PROTOCOLS = {
    "all": "The images are the run's own: none takes part in its own vote, and the linear probe learns from one half "
    "of them and is tested on the other.",
    "split": "The probes learned from the run's own images and were tested on others.",
}


@dataclass(frozen=True)
class Similarity:
    """The similarities of one part: a chart of all kinds of pairs, and each kind's figures beside the paper's."""

    title: str
    plot: Plot
    rows: list[tuple[int, str, str, str]]


@dataclass(frozen=True)
class PartMap:
    """The map of one part: for each cluster its colour and a path that is a dot at each image."""

    title: str
    dots: list[tuple[int, str]]
    description: str


@dataclass(frozen=True)
class Knowledge:
    """What the section shows; every list may be empty."""

    images: str
    protocol: str
    probes: list[tuple[str, list[str]]]
    leakage: str
    similarities: list[Similarity]
    temperature: Plot | None
    curves: list[tuple[int, str]]
    maps: list[PartMap]


def knowledge(metrics: dict[str, Any], maps: PartMaps | None, assignments: Assignments) -> Knowledge | None:
    """The analysis of a run; None where there is none."""
    analysis = table(metrics.get("analysis"))
    probes = _probes(analysis)
    similarity = table(analysis.get("similarity"))
    # the paper's figures are of its own method; after a stage, pairs are of other views
    published = PUBLISHED if text(metrics.get("method"), 40) == "CDC" else {}
    similarities = [
        made for part in ("categorical", "instance") if (made := _similarity(part, similarity, published.get(part, {})))
    ]
    temperature, curves = _temperature(table(analysis.get("temperature")))
    drawn = [] if maps is None else _maps(maps, assignments)
    if not (probes or similarities or temperature or drawn):
        return None
    images = number(analysis.get("num_images"))
    return Knowledge(
        images="" if images is None else plural(round(images), "image"),
        protocol=_PROTOCOLS.get(text(analysis.get("protocol"), 40), "") if probes else "",
        probes=probes,
        leakage=_leakage(left) if probes and (left := table(analysis.get("class_leakage"))) else "",
        similarities=similarities,
        temperature=temperature,
        curves=curves,
        maps=drawn,
    )


def _probes(analysis: dict[str, Any]) -> list[tuple[str, list[str]]]:
    rows = [table(row) for row in items(analysis.get("probes"))[:12]]
    made = [
        (
            _PARTS.get(text(row.get("part"), 40), text(row.get("part"), 40) or "unnamed"),
            [_share(row, "knn"), _share(row, "linear")],
        )
        for row in rows
        if number(row.get("knn")) is not None or number(row.get("linear")) is not None
    ]
    chance = _share(analysis, "chance")
    return [*made, ("Guessing the most frequent class", [chance, chance])] if made else []


def _share(row: dict[str, Any], name: str) -> str:
    value = number(row.get(name))
    return "-" if value is None else score(min(max(value, 0.0), 1.0))


def _leakage(leakage: dict[str, Any]) -> str:
    shares = [
        f"{percent(share)} by {words}"
        for probe, words in (("knn", "k-NN"), ("linear", "the linear probe"))
        if (share := number(leakage.get(probe))) is not None and share >= 0
    ]
    if not shares:
        return "The categorical part does not beat guessing, so there is nothing to compare the instance part with."
    return (
        "Of what the categorical part knows of the class beyond guessing, the instance part knows "
        f"{' and '.join(shares)}. A part that is only about the instance would know 0 %; another probe may find more."
    )


def _similarity(part: str, similarity: dict[str, Any], published: dict[str, tuple[float, float]]) -> Similarity | None:
    rows = [table(row) for row in items(similarity.get(part))[:8]]
    histograms = [_shares(row.get("histogram")) for row in rows]
    kept = [(row, shares) for row, shares in zip(rows, histograms, strict=True) if shares]
    if not kept:
        return None
    frame = Frame(-1.0, 1.0, max(1e-6, 1.05 * max(max(shares) for _, shares in kept)))
    figures = []
    for colour, (row, _) in enumerate(kept):
        kind = text(row.get("kind"), 40)
        paper = published.get(kind)
        figures.append((colour, _KINDS.get(kind, kind), _spread(row), _figures(*paper) if paper else "-"))
    return Similarity(
        title=_PARTS[part],
        plot=Plot(
            lines=[Line(steps(frame, shares), colour, True) for colour, (_, shares) in enumerate(kept)],
            x_ticks=[(frame.x(value), f"{value:g}") for value in (-1, -0.5, 0, 0.5, 1)],
            y_ticks=frame.percents(),
            x_label="dot product",
            mark=None,
            description=f"{_PARTS[part]}: " + "; ".join(f"{name}: {ours}" for _, name, ours, _ in figures),
        ),
        rows=figures,
    )


def _shares(value: Any) -> list[float]:
    found = [number(share) for share in items(value)[:_MOST_BINS]]
    shares = [min(max(share or 0.0, 0.0), 1.0) for share in found]
    return shares if any(shares) else []


def _spread(row: dict[str, Any]) -> str:
    mean, std = number(row.get("mean")), number(row.get("std"))
    return "-" if mean is None or std is None else _figures(min(max(mean, -1.0), 1.0), min(max(std, 0.0), 1.0))


def _figures(mean: float, std: float) -> str:
    return f"{mean:.3f} ({std:.3f})"


def _temperature(temperature: dict[str, Any]) -> tuple[Plot | None, list[tuple[int, str]]]:
    rows = [table(row) for row in items(temperature.get("rows"))[:60]]
    known = [(at, row) for row in rows if (at := number(row.get("temperature"))) is not None and 1e-6 < at < 1e6]
    if len(known) < 2:
        return None, []
    known.sort(key=lambda pair: pair[0])
    # temperatures differ by factors, so their logarithms share the width
    frame = Frame(math.log(known[0][0]), math.log(known[-1][0]), 1.0)
    own = number(temperature.get("own"))
    lines, named = [], []
    for colour, (name, words) in enumerate(_CURVES):
        path = through(frame, [(math.log(at), number(row.get(name))) for at, row in known])
        if path:
            lines.append(Line(path, colour, False))
            named.append((colour, words))
    plot = Plot(
        lines=lines,
        x_ticks=[(frame.x(math.log(at)), f"{at:g}") for at in _spaced([at for at, _ in known])],
        y_ticks=frame.percents(),
        x_label="temperature t2",
        mark=frame.x(math.log(own)) if own is not None and known[0][0] <= own <= known[-1][0] else None,
        description=f"Confidence at temperatures from {known[0][0]:g} to {known[-1][0]:g}",
    )
    return plot, named


def _spaced(temperatures: list[float]) -> list[float]:
    """Those whose labels do not touch."""
    kept = temperatures[:1]
    least = math.log(temperatures[-1] / temperatures[0]) / 10
    for value in temperatures[1:]:
        if math.log(value / kept[-1]) > least:
            kept.append(value)
    return kept


def _maps(maps: PartMaps, assignments: Assignments) -> list[PartMap]:
    within = np.flatnonzero((maps.rows >= 0) & (maps.rows < len(assignments)))
    chosen = thinned(within, _MOST_POINTS)
    if not len(chosen):
        return []
    clusters = assignments.clusters[maps.rows[chosen]]
    shown = plural(len(chosen), "image")
    return [
        PartMap(
            title=_PARTS[part],
            dots=_dots(places[chosen].astype(np.float64), clusters),
            description=f"Map of {shown} by the {part} part alone, coloured by cluster",
        )
        for part, places in (("categorical", maps.categorical), ("instance", maps.instance))
    ]


def _dots(places: np.ndarray, clusters: np.ndarray) -> list[tuple[int, str]]:
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    reach = max(float(np.abs(places - middle).max()), 1e-12)
    drawn = MAP_SIDE / 2 + (places - middle) / reach * (MAP_SIDE / 2 - MAP_EDGE)
    # a line of no length with round ends is a dot: one path a cluster in place of a circle an image
    return [
        (int(cluster) % MOST, "".join(f"M{x:.1f} {y:.1f}h0" for x, y in drawn[clusters == cluster].tolist()))
        for cluster in np.unique(clusters)
    ]
