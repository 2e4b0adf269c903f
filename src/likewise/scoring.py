"""Scores a run against labels, beside K-means on the same images: the only place where labels enter."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from likewise.config import Recipe
from likewise.data import ImageStore, load_images, open_source
from likewise.errors import InputError
from likewise.evaluation import (
    cluster_scores,
    confusion,
    kmeans,
    labelled,
    labels_from_folders,
    per_class,
    pixels,
    read_labels,
)
from likewise.progress import say
from likewise.runs import RunDirectory
from likewise.workflow import assign

MOST_PIXEL_BYTES = 2 * 2**30
REDUCED_SIDE = 32  # px


@dataclass(frozen=True)
class Scored:
    """Images with what is known of them, row by row.

    Attributes:
        store: Their pixels.
        rows: Rows of the store, int64 [N].
        features: Of the backbone, float32 [N, F].
        clusters: Their assignments, int64 [N].
    """

    store: ImageStore
    rows: np.ndarray
    features: np.ndarray
    clusters: np.ndarray

    @property
    def names(self) -> list[str]:
        return [self.store.names[row] for row in self.rows]

    def pixels(self, side: int) -> np.ndarray:
        """The raw pixels at `side` px, float32 [N, D] in 0..1."""
        return pixels(self._blocks(side))

    def _blocks(self, side: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.rows), 1024):
            block = self.store.read(self.rows[start : start + 1024])
            if side < self.store.size:
                block = functional.adaptive_avg_pool2d(block.float(), side).round().to(torch.uint8)
            yield block.numpy()


def evaluate(run: RunDirectory, labels: str, data: object | None = None) -> dict[str, Any]:
    """Score a run and add the scores to its metrics.

    Args:
        run: A finished run.
        labels: `"folders"` (the folder of an image is its class), `"source"` (the labels in the array file or set
            itself), or a CSV file with a column of images and one of labels.
        data: Other images, to be assigned and scored (protocol `split`); None scores the run's own (protocol `all`).

    Returns:
        The evaluation, as it stands in `metrics.json`.

    Raises:
        InputError: If labels or images cannot be found.
    """
    run.require_complete()
    own = _own_images(run)
    scored = own if data is None else _new_images(run, data)
    classes = _classes(scored, labels)
    known = labelled(classes)
    names, indices = np.unique(classes[known].astype(str), return_inverse=True)
    if len(names) < 2:
        raise InputError(f"all labels are {names[0]!r}: a score needs two classes at least; is --labels right?")
    if not known.all():
        say(f"{int((~known).sum()):,} of {len(known):,} images have no label and are left out of the scores")
    recipe = Recipe.read(run.recipe_file)
    num_clusters = recipe.method.num_clusters
    found = scored.clusters[known]
    evaluation = {
        "protocol": "all" if data is None else "split",
        "data": scored.store.source.spec,
        "num_images": int(known.sum()),
        "num_classes": len(names),
        "classes": names.tolist(),
        "rows": [
            {"name": recipe.method.name.upper(), **cluster_scores(found, indices)},
            *_kmeans_rows(own, scored, known, indices, num_clusters, recipe.training.seed),
        ],
        "confusion": confusion(found, indices, names.tolist(), num_clusters),
        "per_class": per_class(found, indices, names.tolist()),
    }
    _record(run, evaluation)
    return evaluation


def _own_images(run: RunDirectory) -> Scored:
    """The images of the run itself, opened again where they were; the table of the run says which they are."""
    recipe = Recipe.read(run.recipe_file)
    settings, table = recipe.data, run.assignments()
    if not settings.source:
        raise InputError("this run was made from images in memory; give them again with --data.")
    memory = int(settings.memory_gb * 2**30)
    source = open_source(settings.source)
    store = load_images(source, settings.image_size, memory_bytes=memory, channels=settings.channels)
    places = {name: row for row, name in enumerate(store.names)}
    present = np.array([name in places for name in table.names])
    if not present.any():
        raise InputError(f"none of the images of this run are in {settings.source} any more.")
    if not present.all():
        say(f"{int((~present).sum()):,} images of the run are no longer there and are left out")
    rows = np.array([places[name] for name in table.names if name in places])
    return Scored(store, rows, np.asarray(run.features("backbone"))[present], table.clusters[present])


def _new_images(run: RunDirectory, data: object) -> Scored:
    table, store, embedded = assign(run, data)
    return Scored(store, embedded.rows, embedded.features, table.clusters)


def _classes(scored: Scored, labels: str) -> np.ndarray:
    """The class of every image, as text; empty where there is none."""
    if labels == "folders":
        return labels_from_folders(scored.names)
    if labels == "source":
        own, names = scored.store.labels, scored.store.source.class_names
        if own is None:
            raise InputError("these images come without labels; give --labels folders or --labels FILE.csv.")
        own = own[scored.rows]
        return np.array([names[i] if names else str(i) for i in own.tolist()])
    if not Path(labels).is_file():
        raise InputError(f"--labels {labels}: no such file; give a CSV file, or the word folders or source.")
    return read_labels(Path(labels), scored.names)


def _kmeans_rows(
    own: Scored, scored: Scored, known: np.ndarray, classes: np.ndarray, num_clusters: int, seed: int
) -> list[dict[str, Any]]:
    """K-means on features and on pixels, fitted on the run's own images like the method itself."""
    say("comparing with K-means on the same features and on pixels")
    store = own.store
    # pixels of many large images do not fit into memory as floats; at 32 px K-means sees the same in them
    fits = len(own.rows) * store.channels * store.size**2 * 4 <= MOST_PIXEL_BYTES
    side = store.size if fits else min(store.size, REDUCED_SIDE)
    pixel_name = "K-means on pixels" if side == store.size else f"K-means on pixels ({side} px)"
    rows = []
    for name, of in (
        ("K-means on the same features", lambda images: images.features),
        (pixel_name, lambda images: images.pixels(side)),
    ):
        found = kmeans(of(own), num_clusters, seed, None if scored is own else of(scored))
        rows.append({"name": name, **cluster_scores(found[known], classes)})
    return rows


def _record(run: RunDirectory, evaluation: dict[str, Any]) -> None:
    """Add an evaluation to the metrics, in the place of an earlier one of the same images."""
    metrics = run.metrics()
    same = (evaluation["protocol"], evaluation["data"])
    others = [e for e in metrics.get("evaluations", []) if (e.get("protocol"), e.get("data")) != same]
    run.write_metrics(metrics | {"evaluations": [*others, evaluation]})
