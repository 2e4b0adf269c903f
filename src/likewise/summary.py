"""A run in a few lines of plain text."""

from typing import Any

import numpy as np

from likewise.evaluation import PUBLISHED
from likewise.progress import format_seconds, printable_lines
from likewise.runs import Assignments, RunDirectory
from likewise.tracks import notice
from likewise.wording import plural

BAR = 24  # characters
MOST_CLUSTERS = 40
PARTS = {
    "backbone": "backbone features",
    "categorical": "categorical part (z_c)",
    "instance": "instance part (z_n)",
}
KINDS = {"augmented": "augmented", "same": "same class", "different": "different class", "other": "different image"}


def describe_run(run: RunDirectory) -> str:
    """What a finished run found: sizes and confidence of the clusters, warnings, and where to look further."""
    metrics, table = run.metrics(), run.assignments()
    clustering, training = metrics["clustering"], metrics["training"]
    count, seconds = table.num_clusters, format_seconds(training["seconds"])
    lines = [f"{len(table):,} images in {count:,} clusters, after {seconds} of training", ""]
    lines += _cluster_lines(table, run.names(count))
    lines += [
        "",
        f"mean confidence {clustering['mean_confidence']:.2f}; {plural(clustering['num_empty'], 'empty cluster')}",
    ]
    lines += _representation_lines(metrics)
    lines += [f"warning: {warning}" for warning in training["warnings"]]
    lines += _track_lines(metrics)
    if skipped := run.skipped():
        lines.append(f"{plural(len(skipped), 'file')} could not be read: {run.skipped_file}")
    return printable_lines(lines)


def describe_clusters(run: RunDirectory) -> str:
    """The clusters of a finished run with their names, all of them."""
    table = run.assignments()
    return printable_lines(_cluster_lines(table, run.names(table.num_clusters), table.num_clusters))


def _cluster_lines(table: Assignments, names: dict[int, str], most: int = MOST_CLUSTERS) -> list[str]:
    """Sizes and confidence of the clusters, the largest first."""
    sizes = np.bincount(table.clusters, minlength=table.num_clusters)
    sums = np.bincount(table.clusters, weights=table.confidence, minlength=table.num_clusters)
    width = max((len(name) for name in names.values()), default=0)
    lines = ["cluster   images  share  confidence" + "  name" * bool(names)]
    for k in np.argsort(-sizes, kind="stable")[:most].tolist():
        mean = f"{sums[k] / sizes[k]:10.2f}" if sizes[k] else "         -"
        bar = "#" * round(BAR * sizes[k] / max(sizes.max(), 1))
        called = f"  {names.get(k, ''):{width}s}" if names else ""
        share = sizes[k] / max(len(table), 1)
        lines.append(f"{k:7d} {sizes[k]:8,d} {share:6.1%} {mean}{called}  {bar}".rstrip())
    if len(sizes) > most:
        lines.append(f"... and {len(sizes) - most:,} more")
    return lines


def _representation_lines(metrics: dict[str, Any]) -> list[str]:
    try:
        agreement = metrics["geometry"]["representation"]["agreement"]
        said = f"NMI {agreement['nmi']:.2f}, ARI {agreement['ari']:.2f}"
    except (KeyError, TypeError, ValueError):  # clusters too small for it, or a run of another version
        return []
    return [f"K-means on the features agrees with these clusters to {said}"]


def _track_lines(metrics: dict[str, Any]) -> list[str]:
    said = notice(str(metrics.get("track"))).sentence
    return [f"note: {said}"] if said else []


def describe_evaluation(evaluation: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The scores of a run as a table, and the classes, worst first."""
    counts = f"{evaluation['num_images']:,} images, {evaluation['num_classes']:,} classes"
    lines = [
        f"{counts}, protocol {evaluation['protocol']}",
        "",
        f"{'':30s} {'ACC':>6s} {'NMI':>6s} {'ARI':>6s} {'AMI':>6s}",
    ]
    for row in evaluation["rows"]:
        scores = " ".join(f"{row[key]:6.3f}" for key in ("acc", "nmi", "ari", "ami"))
        lines += [f"{row['name']:30s} {scores}"]
    lines += _matching_lines(evaluation["num_clusters"], evaluation["num_classes"])
    lines += ["", f"{'class':24s}  images  cluster  recall  precision"]
    classes = sorted(evaluation["per_class"], key=lambda entry: entry["recall"])
    for entry in classes[:MOST_CLUSTERS]:
        cluster = "none" if entry["cluster"] is None else str(entry["cluster"])
        scores = f"{entry['recall']:7.2f} {entry['precision']:10.2f}"
        lines.append(f"{str(entry['class'])[:24]:24s} {entry['images']:7,d} {cluster:>8s} {scores}")
    if len(classes) > MOST_CLUSTERS:
        lines.append(f"... and {len(classes) - MOST_CLUSTERS:,} more, of higher recall")
    return printable_lines([*lines, *_track_lines(metrics)])


def _matching_lines(clusters: int, classes: int) -> list[str]:
    """What ACC means where there is not a class for each cluster."""
    if clusters == classes:
        return []
    over = abs(clusters - classes)
    left = f"{over:,} {'cluster' if clusters > classes else 'class'}"
    many = "" if over == 1 else "s" if clusters > classes else "es"
    return [
        f"{clusters:,} clusters for {classes:,} classes: ACC matches one to one, so that all images of {left}{many} "
        "count as wrong; NMI, ARI and AMI have no such limit"
    ]


def describe_analysis(analysis: dict[str, Any], metrics: dict[str, Any]) -> str:
    """What each part of the output knows, as tables: probes, similarities beside the paper's, temperatures."""
    classes = f", {analysis['num_classes']:,} classes" if "num_classes" in analysis else ""
    lines = [f"{plural(analysis['num_images'], 'image')}{classes}, protocol {analysis['protocol']}"]
    if "probes" in analysis:
        lines += ["", f"{'probe':28s}   k-NN  linear"]
        lines += [f"{PARTS[row['part']]:28s} {row['knn']:6.3f} {row['linear']:7.3f}" for row in analysis["probes"]]
        lines += [f"{'the most frequent class':28s} {analysis['chance']:6.3f} {analysis['chance']:7.3f}"]
    if "class_leakage" in analysis:
        knn, linear = (
            format(left, ".3f") if (left := analysis["class_leakage"][probe]) is not None else "-"
            for probe in ("knn", "linear")
        )
        lines += ["", f"{'class left in z_n':28s} {knn:>6s} {linear:>7s}"]
        lines += ["  beyond guessing: 0 is nothing, 1 as much as in z_c; - where z_c itself does not beat it"]
    if "similarity" in analysis:
        lines += ["", f"{'similarity of pairs':20s} {'z_c':>14s} {'paper':>14s} {'z_n':>14s} {'paper':>14s}"]
        lines += _similarity_lines(analysis["similarity"], metrics.get("method") == "CDC")
    if analysis["temperature"]:
        lines += ["", "    t2  confidence  above .95   right  above .99   right"]
        lines += [_temperature_line(row, analysis["temperature"]["own"]) for row in analysis["temperature"]["rows"]]
        lines += ["* the run's own"]
    return printable_lines([*lines, *_track_lines(metrics)])


def _similarity_lines(similarity: dict[str, Any], published: bool) -> list[str]:
    """Our figures and, of CDC, those of its paper."""
    lines = []
    for one, other in zip(similarity["categorical"], similarity["instance"], strict=True):
        cells = []
        for part, row in (("categorical", one), ("instance", other)):
            paper = PUBLISHED[part].get(row["kind"]) if published else None
            cells += [_spread(row["mean"], row["std"]), _spread(*paper) if paper else ""]
        lines.append(f"{KINDS[row['kind']]:20s} " + " ".join(f"{cell:>14s}" for cell in cells))
    return lines


def _spread(mean: float, std: float) -> str:
    return f"{mean:.3f} ({std:.3f})"


def _temperature_line(row: dict[str, Any], own: float) -> str:
    def right(name: str) -> str:
        return f"{'-' if row[name] is None else format(row[name], '.3f'):>7s}"

    mark = "*" if row["temperature"] == own else " "
    shares = [f"{row[f'above_{level}']:10.1%} {right(f'accuracy_{level}')}" for level in (95, 99)]
    return f"{mark}{row['temperature']:5g} {row['mean_confidence']:11.3f} {' '.join(shares)}"
