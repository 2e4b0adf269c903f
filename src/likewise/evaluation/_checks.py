"""What every function of this package asks of its labels, said once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError

Labels = Sequence[int] | Sequence[str] | NDArray[Any]


def as_labels(values: Labels, what: str) -> NDArray[np.generic]:
    """One label an image, as an array of integers or of strings.

    Args:
        values: Labels [N], integers or strings.
        what: What they are, for the message, such as `"assignments"`.

    Returns:
        The labels [N].

    Raises:
        InputError: If there are none, if they have more than one dimension, if some are missing (None or the empty
            string) or if they are neither integers nor strings.
    """
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise InputError(f"{what} have the shape {labels.shape}; expected one label an image, [N].")
    if labels.size == 0:
        raise InputError(f"{what} are empty; at least one image is needed.")
    if labels.dtype == object:
        labels = _from_objects(labels, what)
    if labels.dtype.kind not in "biuU":
        raise InputError(f"{what} are of the type {labels.dtype}; expected integers or strings.")
    if labels.dtype.kind == "U" and bool(np.any(labels == "")):
        raise InputError(_missing(what, int(np.sum(labels == ""))))
    return labels.astype(np.int64) if labels.dtype.kind == "b" else labels


def as_pair(assignments: Labels, classes: Labels) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Clusters and classes of the same images.

    Args:
        assignments: Cluster of each image [N].
        classes: Class of each image [N].

    Returns:
        Both as arrays [N].

    Raises:
        InputError: As `as_labels`, and if the lengths differ.
    """
    clusters, truth = as_labels(assignments, "assignments"), as_labels(classes, "classes")
    if len(clusters) != len(truth):
        raise InputError(f"{len(clusters)} assignments but {len(truth)} classes; expected one of each an image.")
    return clusters, truth


def as_indices(values: Labels, count: int, what: str) -> NDArray[np.int64]:
    """Labels that are indices.

    Args:
        values: Integers [N].
        count: Allowed are 0 to `count` - 1.
        what: What they are, for the message.

    Returns:
        The indices [N].

    Raises:
        InputError: As `as_labels`, and if a value is not an integer in range.
    """
    labels = as_labels(values, what)
    if labels.dtype.kind == "U":
        raise InputError(f"{what} are strings; expected integers from 0 to {count - 1}.")
    indices = labels.astype(np.int64)
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= count:
        raise InputError(f"{what} range from {low} to {high}; allowed are 0 to {count - 1}.")
    return indices


def as_features(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """Rows of features in float32.

    Args:
        values: Rows [N, F], both at least 1.
        what: What they are, for the message.

    Raises:
        InputError: If they have another shape, or a value is not finite.
    """
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused below
        features = np.ascontiguousarray(values, dtype=np.float32)
    if features.ndim != 2 or features.size == 0:
        raise InputError(f"{what} have the shape {features.shape}; expected [N, F], both at least 1.")
    # one float64 sum a row finds NaN and infinity without a mask as large as the features
    with np.errstate(invalid="ignore"):
        finite = bool(np.isfinite(features.sum(axis=1, dtype=np.float64)).all())
    if not finite:
        raise InputError(f"{what} hold values that are not finite; look for a diverged model or a broken image.")
    return features


def _from_objects(labels: NDArray[np.object_], what: str) -> NDArray[np.generic]:
    """Objects become integers where all of them are integers, strings where all are strings."""
    missing = sum(label is None for label in labels)
    if missing:
        raise InputError(_missing(what, missing))
    if all(isinstance(label, str) for label in labels):
        return labels.astype(np.str_)
    if all(isinstance(label, int | np.integer) for label in labels):
        return labels.astype(np.int64)
    raise InputError(f"{what} mix types; expected all integers or all strings.")


def _missing(what: str, count: int) -> str:
    return f"{what}: {count} images have no label; score only the images that `labelled(...)` keeps."
