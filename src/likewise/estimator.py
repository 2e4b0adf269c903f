"""`ImageClusterer`: the scikit-learn way to group images."""

import shutil
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from likewise.assembly import image_store
from likewise.config import Recipe
from likewise.data import ImageStore, open_source
from likewise.errors import InputError
from likewise.inference import Embedded, decide_close_calls, embed
from likewise.recipe_book import make_recipe
from likewise.runs import RunDirectory
from likewise.training.fit import Interrupted
from likewise.workflow import cluster, open_network


class ImageClusterer(ClusterMixin, TransformerMixin, BaseEstimator):
    """Groups images that are alike, learning from them without labels.

    Images are a folder, a text file of paths, a `.npy` or `.npz` file, the name of a set, an array or tensor
    ([N, H, W], [N, H, W, C] or [N, C, H, W]; uint8, or floats in 0..1), a list of images, or a torch Dataset.

    Args:
        n_clusters: K, how many groups to find.
        method: A name of `likewise list methods`.
        backbone: `"auto"`, a name of `likewise list backbones`, or any model of timm.
        weights: `"auto"`, `"none"`, `"pretrained"` or a weights file. With weights, the backbone is frozen.
        image_size: Side in pixels; 0 decides it from the images.
        minutes: Train for about this long. By default 10 minutes from scratch, 500 steps or more on a frozen backbone.
        epochs: Train for this many passes instead.
        batch_size: Images in a step; 0 decides it from their number.
        settings: Any other setting of a recipe by dotted name, such as `{"method.settings.temperature": 0.1}`.
        run_dir: Where to write the run directory, which must not be there yet; None keeps it in a temporary place.
        random_state: Same number, same machine: same result. None stands for 0.

    Attributes:
        labels_: Cluster of each image of `fit`, int64 [N]; -1 where an image could not be read.
        run_: The run directory.
        recipe_: Everything that decided the result.

    Example:
        >>> import numpy as np
        >>> images = np.random.default_rng(0).integers(0, 255, (64, 16, 16), dtype=np.uint8)
        >>> clusterer = ImageClusterer(n_clusters=4, epochs=1).fit(images)
        >>> clusterer.predict(images).shape, clusterer.transform(images).shape
        ((64,), (64, 132))
    """

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        method: str = "cdc",
        backbone: str = "auto",
        weights: str = "auto",
        image_size: int = 0,
        minutes: float | None = None,
        epochs: float | None = None,
        batch_size: int = 0,
        settings: dict[str, Any] | None = None,
        run_dir: str | Path | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.method = method
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.minutes = minutes
        self.epochs = epochs
        self.batch_size = batch_size
        self.settings = settings
        self.run_dir = run_dir
        self.random_state = random_state

    def _recipe(self) -> Recipe:
        given: dict[str, Any] = {
            "method.num_clusters": self.n_clusters,
            "method.name": self.method,
            "model.backbone": self.backbone,
            "model.weights": self.weights,
            "data.image_size": self.image_size,
            "training.minutes": self.minutes,
            "training.epochs": self.epochs,
            "training.batch_size": self.batch_size,
            "training.seed": self.random_state or 0,
        }
        named = {name: value for name, value in given.items() if value is not None}
        return make_recipe(None, named | (self.settings or {}), [])

    def fit(self, X: object, y: object = None, resume: bool = False) -> Self:
        """Learn groups from images.

        Args:
            X: The images.
            y: Ignored; labels play no part.
            resume: Go on with the fit in `run_dir` that was stopped, to the same result; what decides it is what was
                set when it began.

        Raises:
            InputError: If there is nothing to go on with, there are too few images, or something was asked for that
                cannot be done.
            RunError: If the training diverged or was stopped.
        """
        source = open_source(X)
        if self.run_dir is None:
            folder = tempfile.mkdtemp(prefix="likewise-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            run = RunDirectory(Path(folder) / "run")
        else:
            run = RunDirectory(self.run_dir)
        if resume and (self.run_dir is None or not run.is_started or run.is_complete):
            raise InputError("there is no fit to go on with: resume=True is for one with run_dir=... that was stopped.")
        try:
            result = cluster(Recipe.read(run.recipe_file) if resume else self._recipe(), source, run, resume)
        except Interrupted as stop:
            # its own hint leads to a command, and here to a folder that goes with this clusterer
            kept = "of a fit with run_dir=..., what was trained so far would be kept"
            if self.run_dir is not None:
                kept = f"go on with ImageClusterer(..., run_dir={str(self.run_dir)!r}).fit(images, resume=True)"
            raise Interrupted(f"stopped; {kept}.") from stop
        self.run_, self.recipe_, self._network, self._machine = run, result.recipe, result.network, result.machine
        self.labels_ = _spread(result.embedded.probabilities.argmax(1), result.store, result.embedded, len(source), -1)
        return self

    def fit_predict(self, X: object, y: object = None, **kwargs: Any) -> np.ndarray:
        """Learn groups from images and return theirs, int64 [N]."""
        return self.fit(X, **kwargs).labels_

    def predict(self, X: object) -> np.ndarray:
        """The cluster of each image, int64 [N]; -1, with a warning, where an image cannot be read."""
        store, embedded = self._embed(X)
        return _spread(embedded.probabilities.argmax(1), store, embedded, len(store.source), -1)

    def predict_proba(self, X: object) -> np.ndarray:
        """The probability of each cluster, float32 [N, K]; NaN where an image cannot be read."""
        store, embedded = self._embed(X)
        return _spread(embedded.probabilities, store, embedded, len(store.source), np.nan)

    def transform(self, X: object) -> np.ndarray:
        """What each image is, and what makes it that image: both parts of the representation side by side.

        Returns:
            float32 [N, K + D]: the first K columns are the categorical part, the cluster logits, and the others the
            instance part, which has unit length; so has the categorical part of CDC. NaN where an image cannot be
            read.
        """
        store, embedded = self._embed(X)
        both = np.concatenate([embedded.categorical, embedded.instance], axis=1)
        return _spread(both, store, embedded, len(store.source), np.nan)

    def score(self, X: object, y: object) -> float:
        """Clustering accuracy (ACC, 0..1) against labels `y` [N], under the best matching of clusters and classes."""
        from likewise.evaluation import accuracy

        clusters, classes = self.predict(X), np.asarray(y)
        if len(classes) != len(clusters):
            raise InputError(f"{len(clusters):,} images and {len(classes):,} labels; there must be one for each image.")
        return accuracy(clusters[clusters >= 0], classes[clusters >= 0])

    def save(self, path: str | Path) -> Path:
        """Copy the run directory to `path`, which must not exist; `load`, and every command, opens it there."""
        self._check_fitted()
        target = Path(path)
        if target.exists():
            raise InputError(f"{target} is there already, and nothing is overwritten; choose another place.")
        shutil.copytree(self.run_.path, target, symlinks=True)  # not what a stranger's links point to
        return target

    @classmethod
    def load(cls, path: str | Path) -> "ImageClusterer":
        """A fitted clusterer from a run directory, whoever made it.

        Its `labels_` are those of the images that could be read, in the order of the run's `assignments.parquet`.
        """
        run = RunDirectory(path)
        recipe, network, machine = open_network(run)
        training = recipe.training
        clusterer = cls(
            recipe.method.num_clusters,
            method=recipe.method.name,
            backbone=recipe.model.backbone,
            weights=recipe.model.weights,
            image_size=recipe.data.image_size,
            minutes=training.minutes,
            epochs=training.epochs,
            batch_size=training.batch_size,
            settings={f"method.settings.{name}": value for name, value in recipe.method.settings.items()},
            random_state=training.seed,
        )
        clusterer.run_, clusterer.recipe_ = run, recipe
        clusterer._network, clusterer._machine = network, machine
        clusterer.labels_ = run.assignments().clusters
        return clusterer

    def _check_fitted(self) -> None:
        if not hasattr(self, "run_"):
            raise NotFittedError("this ImageClusterer has not learned anything yet; call fit first.")

    def _embed(self, images: object) -> tuple[ImageStore, Embedded]:
        self._check_fitted()
        store = image_store(open_source(images), self.recipe_.data)
        embedded = embed(self._network, store, self._machine)
        decide_close_calls(self._network, store, self._machine, embedded)
        return store, embedded


def _spread(values: np.ndarray, store: ImageStore, embedded: Embedded, count: int, missing: float) -> np.ndarray:
    """One row for each of the `count` images that were given, with `missing` where one could not be read."""
    if len(values) == count:
        return values
    warnings.warn(f"{count - len(values)} of {count} images could not be read", stacklevel=3)
    spread = np.full((count, *values.shape[1:]), missing, dtype=values.dtype)
    spread[store.indices[embedded.rows]] = values
    return spread
