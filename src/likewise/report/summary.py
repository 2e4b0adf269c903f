"""The head of the report: what was clustered, by what, and how it went, in words."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from likewise.progress import format_seconds
from likewise.report.clusters import certain
from likewise.report.reading import items, number, plain, table, text
from likewise.report.sizes import SURE
from likewise.runs import Assignments, RunDirectory
from likewise.tracks import Notice, notice
from likewise.wording import count, percent, plural

_MOST_EMPTY = 30


@dataclass(frozen=True)
class Summary:
    """What stands above everything else."""

    title: str
    sentence: str
    facts: list[tuple[str, str]]
    notice: Notice
    warnings: list[str] = field(default_factory=list)
    empty: str = ""


def summary(
    run: RunDirectory, assignments: Assignments, metrics: dict[str, Any], recipe: dict[str, Any], num_skipped: int
) -> Summary:
    """The head of the report on `run`."""
    source = text(table(recipe.get("data")).get("source"))
    warnings = items(table(metrics.get("training")).get("warnings"))
    return Summary(
        title=_short(source) or _short(str(run.path.name)) or "Image clusters",
        sentence=_sentence(assignments, num_skipped),
        facts=[(name, said) for name, said in _facts(run, assignments, metrics, recipe, source) if said],
        notice=notice(text(metrics.get("track"), 40)),
        warnings=[said for warning in warnings[:20] if (said := text(warning, 600))],
        empty=_empty(assignments),
    )


def _sentence(assignments: Assignments, num_skipped: int) -> str:
    total = len(assignments)
    parts = [f"{plural(total, 'image')} in {plural(assignments.num_clusters, 'cluster')}"]
    if total:
        confidences = certain(assignments)
        sure = float((confidences > SURE).mean())
        # at a high temperature no image can be that sure, and "0 %" would say that the groups are bad
        above = f"{percent(sure)} assigned with confidence above {SURE}"
        parts.append(
            above
            if sure
            else f"a confidence of {confidences.mean():.2f} on average and {confidences.max():.2f} at most"
        )
    if num_skipped:
        parts.append(f"{plural(num_skipped, 'file')} could not be read")
    return "; ".join(parts) + "."


def _facts(
    run: RunDirectory, assignments: Assignments, metrics: dict[str, Any], recipe: dict[str, Any], source: str
) -> list[tuple[str, str]]:
    training = table(metrics.get("training"))
    seconds = number(training.get("seconds"))
    sizes = np.bincount(assignments.clusters, minlength=assignments.num_clusters)
    method = text(metrics.get("method"))
    backbone = text(table(recipe.get("model")).get("backbone"))
    return [
        ("Images", count(len(assignments))),
        ("Clusters", count(assignments.num_clusters)),
        ("Largest, smallest", f"{count(sizes.max())}, {count(sizes.min())}" if len(sizes) else ""),
        ("Mean confidence", f"{certain(assignments).mean():.2f}" if len(assignments) else ""),
        ("Method", method.upper() if len(method) <= 4 else method),
        ("Backbone", backbone),
        ("Training", format_seconds(seconds) if seconds is not None and 0 <= seconds < 1e9 else ""),
        ("Finished", _finished(run, metrics)),
        ("Source", source if _short(source) != source else ""),
    ]


def _finished(run: RunDirectory, metrics: dict[str, Any]) -> str:
    try:
        when = datetime.fromisoformat(text(metrics.get("finished"), 40))
        return f"{when:%Y-%m-%d %H:%M}" + (" UTC" if when.utcoffset() == timedelta(0) else "")
    except ValueError:
        pass
    if not run.metrics_file.is_file():
        return ""
    # the file is written last of all, so its time is when the run ended
    return f"{datetime.fromtimestamp(run.metrics_file.stat().st_mtime):%Y-%m-%d %H:%M}"


def _short(source: str) -> str:
    """The last part of a path, or the name itself."""
    return plain(re.split(r"[\\/]", source.rstrip("\\/"))[-1], 80)


def _empty(assignments: Assignments) -> str:
    sizes = np.bincount(assignments.clusters, minlength=assignments.num_clusters)
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return ""
    named = ", ".join(str(cluster) for cluster in empty[:_MOST_EMPTY])
    if len(empty) > _MOST_EMPTY:
        named += f" and {count(len(empty) - _MOST_EMPTY)} more"
    return f"{plural(len(empty), 'cluster has', 'clusters have')} no images: {named}."
