"""A run in a few lines of plain text."""

from typing import Any

from likewise.progress import format_seconds, printable_line
from likewise.runs import RunDirectory

BAR = 24  # characters
MOST_CLUSTERS = 40


def describe_run(run: RunDirectory) -> str:
    """What a finished run found: sizes and confidence of the clusters, warnings, and where to look further."""
    metrics, table = run.metrics(), run.assignments()
    clustering, training = metrics["clustering"], metrics["training"]
    sizes = clustering["sizes"]
    lines = [
        f"{len(table):,} images in {len(sizes):,} clusters, after {format_seconds(training['seconds'])} of training"
    ]
    lines += ["", "cluster   images  share  confidence"]
    order = sorted(range(len(sizes)), key=lambda k: -sizes[k])
    for k in order[:MOST_CLUSTERS]:
        members = table.confidence[table.clusters == k]
        mean = f"{members.mean():10.2f}" if len(members) else "         -"
        bar = "#" * round(BAR * sizes[k] / max(max(sizes), 1))
        lines.append(f"{k:7d} {sizes[k]:8,d} {sizes[k] / len(table):6.1%} {mean}  {bar}")
    if len(order) > MOST_CLUSTERS:
        lines.append(f"... and {len(order) - MOST_CLUSTERS:,} more")
    lines += ["", f"mean confidence {clustering['mean_confidence']:.2f}; {clustering['num_empty']} empty clusters"]
    lines += [f"warning: {warning}" for warning in training["warnings"]]
    lines += _track_lines(metrics)
    if skipped := run.skipped():
        lines.append(f"{len(skipped):,} files could not be read: {run.skipped_file}")
    return printable_line("\n".join(lines))


def _track_lines(metrics: dict[str, Any]) -> list[str]:
    if metrics.get("track") == "labels":
        return ["the backbone was trained with labels: this is not an unsupervised result"]
    if metrics.get("track") == "unknown":
        return ["whether the backbone's weights saw labels is not known"]
    return []


def describe_evaluation(evaluation: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The scores of a run as a table, and its worst classes."""
    counts = f"{evaluation['num_images']:,} images, {evaluation['num_classes']:,} classes"
    lines = [
        f"{counts}, protocol {evaluation['protocol']}",
        "",
        f"{'':30s} {'ACC':>6s} {'NMI':>6s} {'ARI':>6s} {'AMI':>6s}",
    ]
    for row in evaluation["rows"]:
        scores = " ".join(f"{row[key]:6.3f}" for key in ("acc", "nmi", "ari", "ami"))
        lines += [f"{row['name']:30s} {scores}"]
    lines += ["", f"{'class':24s}  images  cluster  recall  precision"]
    for entry in evaluation["per_class"][:MOST_CLUSTERS]:
        cluster = "none" if entry["cluster"] is None else str(entry["cluster"])
        scores = f"{entry['recall']:7.2f} {entry['precision']:10.2f}"
        lines.append(f"{str(entry['class'])[:24]:24s} {entry['images']:7,d} {cluster:>8s} {scores}")
    return printable_line("\n".join([*lines, *_track_lines(metrics)]))
