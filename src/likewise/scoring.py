"""Scores a run against labels, beside K-means on the same images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from likewise.assembly import method_config, title
from likewise.config import Recipe
from likewise.data import ImageSource, ImageStore, open_source
from likewise.errors import InputError
from likewise.evaluation import cluster_scores, confusion, kmeans, per_class, pixels
from likewise.labelling import classes_by_name, known_classes
from likewise.progress import say
from likewise.runs import RunDirectory
from likewise.runs.large import large_array
from likewise.workflow import assign, reopen

MOST_PIXEL_BYTES = 2 * 2**30
REDUCED_SIDE = 32  # px


@dataclass(frozen=True)
class Scored:
    """Images with what is known of them, row by row.

    Attributes:
        names: What they are called, [N].
        features: Of the backbone, float32 [N, F].
        clusters: Their assignments, int64 [N].
    """

    names: list[str]
    features: np.ndarray
    clusters: np.ndarray


@dataclass(frozen=True)
class Pixels:
    """The pixels of images: rows of a store, int64 [N]."""

    store: ImageStore
    rows: np.ndarray

    def fitting_side(self) -> int:
        """The largest side at which all of them fit into memory as floats; K-means sees the same in them at 32 px."""
        store = self.store
        fits = len(self.rows) * store.channels * store.size**2 * 4 <= MOST_PIXEL_BYTES
        return store.size if fits else min(store.size, REDUCED_SIDE)

    def at(self, side: int) -> np.ndarray:
        """The raw pixels at `side` px, float32 [N, D] in 0..1."""
        found = large_array((len(self.rows), self.store.channels * side**2))
        for start in range(0, len(self.rows), 1024):
            block = self.store.read(self.rows[start : start + 1024])
            if side < self.store.size:
                block = functional.adaptive_avg_pool2d(block.float(), side).round().to(torch.uint8)
            found[start : start + len(block)] = pixels(block.numpy())
        return found


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
    run.require_changeable()
    recipe = Recipe.read(run.recipe_file)
    method_config(recipe)  # a stranger's recipe may name a method that there is not
    table = run.assignments()
    own = Scored(table.names, np.asarray(run.features("backbone", len(table))), table.clusters)
    # labels first: what is wrong with them should be said before any image is read
    source = _own_source(recipe, labels) if data is None else open_source(data)
    classes_of = classes_by_name(list(source.names) if source else own.names, source, labels)
    if data is None:
        scored, scored_pixels = own, None
    else:
        scored, scored_pixels = _new_images(run, source)
    known, classes = known_classes(scored.names, classes_of)
    names, indices = np.unique(classes, return_inverse=True)
    num_clusters = recipe.method.num_clusters
    found = scored.clusters[known]
    say("comparing with K-means on the same features and on pixels")
    baselines = [_features_row(own, scored, recipe)]
    if pixel_row := _pixels_row(recipe, own, scored_pixels):
        baselines.append(pixel_row)
    evaluation = {
        "protocol": "all" if data is None else "split",
        "data": recipe.data.source if source is None else source.spec,
        "num_images": len(known),
        "num_clusters": num_clusters,
        "num_classes": len(names),
        "classes": names.tolist(),
        "rows": [
            {"name": title(recipe), **cluster_scores(found, indices)},
            *({"name": name, **cluster_scores(groups[known], indices)} for name, groups in baselines),
        ],
        "confusion": confusion(found, indices, names.tolist(), num_clusters),
        "per_class": per_class(found, indices, names.tolist()),
    }
    _record(run, evaluation)
    return evaluation


def _own_source(recipe: Recipe, labels: str) -> ImageSource | None:
    """Where the run's own images are; None where they are not, unless their labels are there with them."""
    try:
        return open_source(recipe.data.source) if recipe.data.source else None
    except InputError:
        if labels == "source":
            raise
        return None


def _new_images(run: RunDirectory, source: ImageSource | None) -> tuple[Scored, Pixels]:
    table, store, embedded = assign(run, source)
    return Scored(table.names, embedded.features, table.clusters), Pixels(store, embedded.rows)


def _features_row(own: Scored, scored: Scored, recipe: Recipe) -> tuple[str, np.ndarray]:
    """K-means on the features, fitted on the run's own images like the method itself."""
    other = None if scored is own else scored.features
    groups = kmeans(own.features, recipe.method.num_clusters, recipe.training.seed, other)
    return "K-means on the same features", groups


def _pixels_row(recipe: Recipe, own: Scored, scored: Pixels | None) -> tuple[str, np.ndarray] | None:
    """The same on pixels; None, with a word on it, where the run's own images are no longer to be had."""
    fitted = _own_pixels(recipe, own.names)
    if fitted is None:
        say("the images of the run are not where they were: the row of K-means on pixels is left out")
        return None
    side = fitted.fitting_side()
    name = "K-means on pixels" if side == fitted.store.size else f"K-means on pixels ({side} px)"
    other = None if scored is None else scored.at(side)
    return name, kmeans(fitted.at(side), recipe.method.num_clusters, recipe.training.seed, other)


def _own_pixels(recipe: Recipe, names: list[str]) -> Pixels | None:
    """The images of the run itself, opened again where they were, if all of them are still there."""
    found = reopen(recipe, names)
    return None if found is None else Pixels(*found)


def _record(run: RunDirectory, evaluation: dict[str, Any]) -> None:
    """Add an evaluation to the metrics, in the place of an earlier one of the same images."""
    metrics = run.metrics()
    same = (evaluation["protocol"], evaluation["data"])
    others = [e for e in metrics.get("evaluations", []) if (e.get("protocol"), e.get("data")) != same]
    run.write_metrics(metrics | {"evaluations": [*others, evaluation]})
