"""The health of a clustering, seen without labels: how even the clusters are, and how sure."""

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import Labels, as_indices

_TOGETHER = 2**22  # probabilities


class ClusterSummary(TypedDict):
    """What `cluster_summary` returns; plain Python types, ready for JSON."""

    num_images: int
    num_clusters: int
    sizes: list[int]
    num_empty: int
    size_entropy: float
    largest_share: float
    mean_confidence: float
    median_confidence: float
    confident_99: float
    confident_90: float
    conditional_entropy: float


def cluster_summary(assignments: Labels, probabilities: ArrayLike) -> ClusterSummary:
    """Sizes of the clusters and confidence of the assignments.

    Args:
        assignments: Cluster of each image [N], from 0 to K - 1.
        probabilities: Probability of each cluster for each image [N, K].

    Returns:
        `num_images` N and `num_clusters` K; `sizes` [K]; `num_empty`; `size_entropy`, the entropy of the sizes
        divided by log K, from 0 (all in one cluster) to 1 (even; also where K is 1); `largest_share` of all images
        in one cluster; `mean_confidence` and `median_confidence`, of the probability of the assigned cluster;
        `confident_99` and `confident_90`, the shares of images whose confidence is above .99 and .9;
        `conditional_entropy`, the mean entropy of an image's probabilities in nats, from 0 (sure) to log K.

    Raises:
        InputError: If shapes do not fit, a cluster is out of range, or a value is not a probability.

    Example:
        >>> summary = cluster_summary([0, 0, 1], [[1.0, 0.0], [0.8, 0.2], [0.05, 0.95]])
        >>> summary["sizes"], summary["num_empty"], round(summary["mean_confidence"], 3)
        ([2, 1], 0, 0.917)
    """
    chances = _probabilities(probabilities)
    num_images, num_clusters = chances.shape
    clusters = as_indices(assignments, num_clusters, "assignments")
    if len(clusters) != num_images:
        raise InputError(f"{len(clusters)} assignments but {num_images} rows of probabilities; expected as many.")
    sizes = np.bincount(clusters, minlength=num_clusters)
    confidence = chances[np.arange(num_images), clusters].astype(np.float64)
    return {
        "num_images": num_images,
        "num_clusters": num_clusters,
        "sizes": sizes.tolist(),
        "num_empty": int(np.sum(sizes == 0)),
        "size_entropy": _size_entropy(sizes),
        "largest_share": float(sizes.max() / num_images),
        "mean_confidence": float(confidence.mean()),
        "median_confidence": float(np.median(confidence)),
        "confident_99": float(np.mean(confidence > 0.99)),
        "confident_90": float(np.mean(confidence > 0.9)),
        "conditional_entropy": _mean_entropy(chances),
    }


def _probabilities(values: ArrayLike) -> NDArray[np.floating]:
    chances = np.asarray(values)
    if chances.ndim != 2 or chances.size == 0:
        raise InputError(f"probabilities have the shape {chances.shape}; expected [N, K], both at least 1.")
    if chances.dtype.kind != "f":
        chances = chances.astype(np.float64)
    # `not (a and b)` so that NaN is refused too; the slack is float16's rounding
    if not (chances.min() >= 0 and chances.max() <= 1.01):
        raise InputError(
            f"probabilities range from {chances.min()} to {chances.max()}; apply a softmax to logits first."
        )
    return chances


def _size_entropy(sizes: NDArray[np.integer]) -> float:
    from scipy.special import entr

    if len(sizes) == 1:
        return 1.0
    entropy = float(entr(sizes / sizes.sum()).sum()) / float(np.log(len(sizes)))
    return min(1.0, max(0.0, entropy))


def _mean_entropy(chances: NDArray[np.floating]) -> float:
    """Mean entropy in nats, a block of rows at a time so that a large set is not held twice in float64."""
    from scipy.special import entr

    rows = max(_TOGETHER // chances.shape[1], 1)
    blocks = (chances[start : start + rows] for start in range(0, len(chances), rows))
    return float(sum(entr(block.astype(np.float64)).sum() for block in blocks)) / len(chances)
