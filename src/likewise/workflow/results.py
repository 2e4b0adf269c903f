"""Writing what a training has made into the run directory."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from likewise.assembly import title
from likewise.data import ImageStore
from likewise.evaluation import ari, cluster_geometry, cluster_summary, kmeans, nmi
from likewise.inference import Embedded, layout
from likewise.progress import say
from likewise.runs import Assignments, RunDirectory
from likewise.runs.assignments import write_thumbnails
from likewise.training.fit import Outcome
from likewise.training.machine import machine_facts, peak_memory_mb
from likewise.workflow.material import Task

MOST_THUMBNAILS = 10_000
THUMBNAIL_SIZE = 96  # px
MOST_REPRESENTED = 5_000  # images that K-means groups beside the model
LEAST_IN_CLUSTER = 20  # of them; with fewer, groups agree by chance


def write_skipped(run: RunDirectory, store: ImageStore) -> None:
    """List the images that could not be read, with the reason."""
    run.write_skipped([(skipped.name, skipped.reason) for skipped in store.skipped])


def write_results(task: Task, embedded: Embedded, outcome: Outcome, track: str, figures: dict[str, Any]) -> None:
    """Write features, thumbnails, assignments and, last, the numbers that make the run complete."""
    recipe, store, machine, run = task.recipe, task.store, task.machine, task.run
    for part, values in (
        ("backbone", embedded.features),
        ("categorical", embedded.categorical),
        ("instance", embedded.instance),
    ):
        run.write_features(part, values)
    say("laying out the map")
    positions = layout([embedded.categorical, embedded.instance], recipe.training.seed)
    names = [store.names[row] for row in embedded.rows]
    plain = Assignments.from_probabilities(names, embedded.probabilities)
    table = Assignments(names, plain.clusters, plain.confidence, plain.probabilities, positions)
    table.write(run.assignments_file)
    _write_thumbnails(run, store, embedded.rows, table)
    write_skipped(run, store)  # of a set that is not in memory, an image may have become unreadable meanwhile
    metrics: dict[str, Any] = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": title(recipe),
        "track": track,
        "clustering": cluster_summary(table.clusters, table.probabilities),
        "geometry": {
            "backbone": cluster_geometry(embedded.features, table.clusters),
            "instance": cluster_geometry(embedded.instance, table.clusters),
            **_representation(embedded.features, table, recipe.training.seed),
        },
        "training": {
            "steps": outcome.steps,
            "epochs": outcome.epochs,
            "seconds": round(outcome.seconds, 1),
            "images_per_second": round(outcome.images_per_second, 1),
            "peak_memory_mb": round(peak_memory_mb(machine.device)),
            "warnings": outcome.warnings,
            "head_replaced": outcome.head_replaced,
        },
        **({"clusters": figures} if figures else {}),
        "machine": machine_facts(machine),
        "evaluations": [],
    }
    run.write_metrics(metrics)


def _representation(features: np.ndarray, table: Assignments, seed: int) -> dict[str, Any]:
    """What K-means makes of the features, without the model's clusters: its geometry, and how far both agree.

    Of many images, a sample: it is there to be compared with, and not to be used. Empty where that would be too few.
    """
    count = len(features)
    rows = np.linspace(0, count - 1, min(count, MOST_REPRESENTED)).round().astype(np.int64)
    if len(rows) < LEAST_IN_CLUSTER * table.num_clusters:
        return {}
    sample = np.asarray(features[rows])
    clusters = kmeans(sample, table.num_clusters, seed)
    agreement = {"nmi": nmi(clusters, table.clusters[rows]), "ari": ari(clusters, table.clusters[rows])}
    return {"representation": {**cluster_geometry(sample, clusters), "num_images": len(rows), "agreement": agreement}}


def _write_thumbnails(run: RunDirectory, store: ImageStore, rows: np.ndarray, table: Assignments) -> None:
    """Small pictures of a sample of the images, in which every cluster's surest and least sure ones are."""
    most = max(MOST_THUMBNAILS // (3 * table.num_clusters), 1)
    first, last = min(2 * most, 24), min(most, 12)
    groups = table.by_cluster()
    shown = np.concatenate([part for members in groups for part in (members[:first], members[first:][-last:])])
    others = np.random.default_rng(0).permutation(len(rows))
    chosen = np.unique(np.concatenate([shown, others[: max(MOST_THUMBNAILS - len(shown), 0)]]))

    places = {int(row): int(place) for place, row in zip(chosen, rows[chosen], strict=True)}

    def pictures() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(chosen), 64):
            # one that has vanished since is no reason to lose what was trained for hours
            left, images = store.read_those_left(rows[chosen[start : start + 64]])
            for row, image in zip(left.tolist(), images, strict=True):
                yield places[row], _reduced(image.permute(1, 2, 0).numpy())

    write_thumbnails(run.thumbnails_file, pictures())


def _reduced(image: np.ndarray) -> np.ndarray:
    if len(image) <= THUMBNAIL_SIZE:
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image.squeeze()).resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX))
