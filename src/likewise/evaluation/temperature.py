"""What the temperature of the cluster probabilities does: how sure, how many are sure, and how often they are right."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import Labels, as_features
from likewise.evaluation.metrics import contingency, match_clusters

TOGETHER = 2**22  # logits


class TemperatureRow(TypedDict):
    """One temperature; the accuracies are None without labels, and where no image is so sure."""

    temperature: float
    mean_confidence: float
    above_95: float
    above_99: float
    accuracy_95: float | None
    accuracy_99: float | None


def temperature_curve(
    logits: ArrayLike, temperatures: Sequence[float], classes: Labels | None = None
) -> list[TemperatureRow]:
    """Confidence under softmax(logits / t2) for a range of t2, and how far it can be trusted.

    The clusters are the same at every temperature, so t2 decides only which images count as sure: those that
    self-labelling would take for its labels. Logits of unit length put a ceiling on confidence, so above some t2 no
    image reaches .99.

    Args:
        logits: Cluster logits [N, K].
        temperatures: Values of t2, above 0.
        classes: Class of each image [N]; None where they are not known.

    Returns:
        A row for each temperature, in the order given: the mean of the largest probability, the shares of images with
        one above .95 and .99, and the accuracy among these, with clusters matched to classes one to one on all images.

    Raises:
        InputError: If shapes do not fit, or a temperature is not above 0.

    Source:
        arXiv 2306.05439: p = softmax(z_c / t2), and the selection p > .99 of its self-labelling.

    Example:
        >>> cold, warm = temperature_curve([[1.0, 0.0], [0.0, 1.0]], [0.1, 1.0], ["cat", "dog"])
        >>> cold["above_99"], cold["accuracy_99"], round(warm["mean_confidence"], 3), warm["accuracy_99"]
        (1.0, 1.0, 0.731, None)
    """
    values = as_features(logits, "logits")
    if any(not temperature > 0 for temperature in temperatures):
        raise InputError(f"temperatures are {list(temperatures)}; they must be above 0.")
    right = None if classes is None else _right(values.argmax(axis=1), classes)
    return [_row(_confidence(values, temperature), temperature, right) for temperature in temperatures]


def _right(clusters: NDArray[np.int64], classes: Labels) -> NDArray[np.bool_]:
    """Whether each image lies in the cluster that is matched to its class, [N]."""
    found = contingency(clusters, classes)
    matched = match_clusters(found.table)
    table = np.zeros(found.table.shape, dtype=bool)
    table[list(matched), list(matched.values())] = True
    return table[np.searchsorted(found.clusters, clusters), np.searchsorted(found.classes, np.asarray(classes))]


def _confidence(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """The largest probability of each image, [N]: 1 over the sum of exp of what the others lie below it."""
    size = max(TOGETHER // logits.shape[1], 1)
    blocks = (logits[start : start + size].astype(np.float64) for start in range(0, len(logits), size))
    below = ((block - block.max(axis=1, keepdims=True)) / temperature for block in blocks)
    return np.concatenate([1 / np.exp(block).sum(axis=1) for block in below])


def _row(confidence: NDArray[np.float64], temperature: float, right: NDArray[np.bool_] | None) -> TemperatureRow:
    def accuracy(sure: NDArray[np.bool_]) -> float | None:
        return float(right[sure].mean()) if right is not None and sure.any() else None

    return {
        "temperature": float(temperature),
        "mean_confidence": float(confidence.mean()),
        "above_95": float((confidence > 0.95).mean()),
        "above_99": float((confidence > 0.99).mean()),
        "accuracy_95": accuracy(confidence > 0.95),
        "accuracy_99": accuracy(confidence > 0.99),
    }
