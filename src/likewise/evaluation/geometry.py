"""How clusters lie in a feature space, seen without labels: how far apart, and how wide."""

from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import Labels, as_features, as_indices

SILHOUETTE_ROWS = 5000  # the silhouette compares all pairs; of more rows, so many are drawn
MOST_DISTANCES = 50  # clusters, the largest ones, whose distances are kept one by one
_BLOCK = 1000  # rows of pairwise distances at a time
_TOGETHER = 4096  # rows of a cluster at a time


class ClusterGeometry(TypedDict):
    """What `cluster_geometry` returns; plain Python types, ready for JSON."""

    clusters: list[int]
    spreads: list[float]
    distances: list[list[float]]
    min_distance: float | None
    mean_distance: float | None
    mean_spread: float
    silhouette: float | None
    davies_bouldin: float | None


def cluster_geometry(features: ArrayLike, clusters: Labels) -> ClusterGeometry:
    """How far apart the clusters are, and how wide each is. Distances are Euclidean, in the units of the features.

    Empty clusters do not count.

    Args:
        features: Rows [N, F].
        clusters: Cluster of each row [N], 0 or more.

    Returns:
        `clusters`, the numbers of the (at most 50) largest clusters in ascending order, and of these `spreads`, the
        mean distance of a cluster's rows to their mean, and `distances` of their means, a matrix. Of all clusters:
        `min_distance` and `mean_distance` of two means; `mean_spread` over the clusters; `silhouette` in -1..1, 1 where
        clusters are narrow and far apart, from 5,000 rows where there are more; `davies_bouldin`, 0 or more, the lower
        the better. None where there is no answer: with one cluster alone, or for Davies-Bouldin, where means coincide.

    Raises:
        InputError: If shapes do not fit, a feature is not finite, or a cluster is below 0.

    Source:
        Rousseeuw, "Silhouettes", 1987; Davies and Bouldin, "A cluster separation measure", 1979.

    Example:
        >>> found = cluster_geometry([[0.0], [1.0], [9.0], [11.0]], [0, 0, 2, 2])
        >>> found["clusters"], found["spreads"], found["distances"], found["davies_bouldin"]
        ([0, 2], [0.5, 1.0], [[0.0, 9.5], [9.5, 0.0]], 0.15789473684210525)
    """
    from scipy.spatial.distance import pdist, squareform

    rows = as_features(features, "features")
    labels = as_indices(clusters, np.iinfo(np.int64).max, "clusters")
    if len(rows) != len(labels):
        raise InputError(f"{len(rows)} rows of features but {len(labels)} clusters; expected one of each an image.")
    present, members, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    groups = np.split(np.argsort(members, kind="stable"), np.cumsum(sizes)[:-1])
    means = np.stack([_mean(rows, group) for group in groups])
    spreads = np.array([_spread(rows, group, mean) for group, mean in zip(groups, means, strict=True)])
    pairs = pdist(means)
    distances = squareform(pairs)
    kept = np.sort(np.argsort(-sizes, kind="stable")[:MOST_DISTANCES])
    return {
        "clusters": present[kept].tolist(),
        "spreads": spreads[kept].tolist(),
        "distances": distances[np.ix_(kept, kept)].tolist(),
        "min_distance": float(pairs.min()) if len(pairs) else None,
        "mean_distance": float(pairs.mean()) if len(pairs) else None,
        "mean_spread": float(spreads.mean()),
        "silhouette": _silhouette(rows, members),
        "davies_bouldin": _davies_bouldin(distances, spreads),
    }


def _mean(rows: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([rows[block].sum(axis=0, dtype=np.float64) for block in _parts(group)]).sum(axis=0) / len(group)


def _spread(rows: NDArray[np.float32], group: NDArray[np.int64], mean: NDArray[np.float64]) -> float:
    """The mean distance of a cluster's rows to their mean."""
    return sum(float(np.linalg.norm(rows[block] - mean, axis=1).sum()) for block in _parts(group)) / len(group)


def _parts(group: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """A cluster may hold all images, and a copy of all of their features is more than memory has room for."""
    return (group[start : start + _TOGETHER] for start in range(0, len(group), _TOGETHER))


def _davies_bouldin(distances: NDArray[np.float64], spreads: NDArray[np.float64]) -> float | None:
    """The mean over the clusters of the worst (s_i + s_j) / d_ij."""
    if len(spreads) < 2 or np.count_nonzero(distances) < distances.size - len(spreads):
        return None
    sums = spreads[:, None] + spreads
    np.fill_diagonal(sums, 0)
    ratios = np.divide(sums, distances, out=sums, where=sums > 0)
    return float(ratios.max(axis=1).mean())


def _silhouette(rows: NDArray[np.float32], members: NDArray[np.int64]) -> float | None:
    """The mean of (b - a) / max(a, b): mean distances to the own cluster's others and to the nearest other cluster."""
    if len(rows) > SILHOUETTE_ROWS:
        drawn = np.sort(np.random.default_rng(0).choice(len(rows), SILHOUETTE_ROWS, replace=False))
        rows, members = rows[drawn], np.unique(members[drawn], return_inverse=True)[1]
    sizes = np.bincount(members)
    if len(sizes) < 2:
        return None
    # the silhouette knows no scale; about their mean, and at most 1 long, rows lose least to rounding
    rows = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = np.divide(rows, np.abs(rows).max() or 1, dtype=np.float32)
    belongs = np.eye(len(sizes), dtype=np.float32)[members]
    blocks = (slice(start, start + _BLOCK) for start in range(0, len(rows), _BLOCK))
    values = [_silhouettes(rows, members, sizes, belongs, block) for block in blocks]
    return float(np.concatenate(values).mean())


def _silhouettes(
    rows: NDArray[np.float32],
    members: NDArray[np.int64],
    sizes: NDArray[np.int64],
    belongs: NDArray[np.float32],
    block: slice,
) -> NDArray[np.float64]:
    """The silhouettes of a block of rows; 0 for a row that is alone in its cluster."""
    some, own = rows[block], members[block]
    lengths = np.square(rows).sum(axis=1)
    squares = lengths[block, None] - 2 * some @ rows.T + lengths
    # what rounding leaves of the distance between equal rows would otherwise count
    squares[squares < 1e-6 * (lengths[block, None] + lengths)] = 0
    totals = (np.sqrt(squares) @ belongs).astype(np.float64)
    places = np.arange(len(own))
    within = totals[places, own] / np.maximum(sizes[own] - 1, 1)
    means = totals / sizes
    means[places, own] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    counts = (sizes[own] > 1) & (larger > 0)
    return np.where(counts, (nearest - within) / np.where(counts, larger, 1), 0)
