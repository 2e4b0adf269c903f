"""Spectral clustering: groups that hang together by neighbours, whatever their shape."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError

MAX_ROWS = 5000  # of which the graph is made; its eigenvectors cost ever more beyond
NEIGHBORS = 10


def spectral(
    train_features: ArrayLike, num_clusters: int, seed: int, test_features: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Spectral clusters over the graph of 10 nearest neighbours, the same for the same seed.

    The graph is made of at most 5,000 rows drawn by the seed; every other row gets the cluster of the nearest of these.

    Args:
        train_features: Rows [N, F].
        num_clusters: K, from 2 to N - 1.
        seed: Of the draw and of the K-means on the eigenvectors.
        test_features: Rows [M, F] to assign; None assigns `train_features`.

    Returns:
        Clusters from 0 to K - 1, [N], or [M] where there are `test_features`.

    Raises:
        InputError: If K is not from 2 to one less than the rows that the graph is made of.

    Source:
        Shi and Malik, "Normalized cuts and image segmentation", 2000; von Luxburg, arXiv 0711.0189.

    Example:
        >>> clusters = spectral([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]], num_clusters=2, seed=0)
        >>> len(set(clusters[:3])), len(set(clusters[3:])), len(set(clusters))
        (1, 1, 2)
    """
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import KNeighborsClassifier

    train = np.asarray(train_features, dtype=np.float32)
    rows = np.arange(len(train))
    if len(train) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(train), MAX_ROWS, replace=False))
    if not 2 <= num_clusters < len(rows):
        raise InputError(
            f"num_clusters is {num_clusters}; spectral clustering of {len(rows)} rows takes fewer, from 2."
        )
    model = SpectralClustering(
        num_clusters, affinity="nearest_neighbors", n_neighbors=min(NEIGHBORS, len(rows) - 1), random_state=seed
    )
    with warnings.catch_warnings():
        # parts that do not hang together are clusters, not a mistake
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        clusters = np.asarray(model.fit_predict(train[rows]), dtype=np.int64)
    if test_features is None and len(rows) == len(train):
        return clusters
    nearest = KNeighborsClassifier(1).fit(train[rows], clusters)
    return np.asarray(nearest.predict(train if test_features is None else np.asarray(test_features, np.float32)))
