"""What a clustering has to beat: K-means, on raw pixels and on the same features."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import as_features
from likewise.progress import say

MAX_FEATURES = 2048  # wider rows are reduced by PCA: no usual backbone is wider, pixels from 27 x 27 x 3 on are
PCA_FEATURES = 256
PCA_ROWS = 4096  # the axes of PCA are fitted on at most so many rows; more change them little and cost seconds
MOST_WORK = 20_000_000_000  # N * F * K * starts up to which K-means sees all rows: minutes of one core
MOST_VALUES = 400_000_000  # N * F likewise; 1.6 GB
ROWS_A_CLUSTER = 40  # that centres are fitted to at least
ASSIGNED = 16_384  # rows that are assigned together
RESTARTS = 10
STARTED_CLUSTERS = 1000  # starts times K, at most: a start of K-means++ takes K passes over its rows, one after another
MAX_ITERATIONS = 100
THREADS = 2


def kmeans(
    train_features: ArrayLike, num_clusters: int, seed: int, test_features: ArrayLike | None = None
) -> NDArray[np.int64]:
    """K-means clusters, in float32, the same for the same seed.

    This is Lloyd's K-means, the best of 10 starts; beyond 100 clusters there are fewer starts, and from 1,000 on there
    is one. Where all rows would be too much (`MOST_WORK`, `MOST_VALUES`) it finds its centres in a part of them, drawn
    by the seed, and the user is told; all are assigned, block by block, so that a memory-mapped file is never in memory
    as a whole. It is not mini-batch K-means, which is worse than Lloyd's on a tenth of the rows (docs/log.md).

    Rows wider than `MAX_FEATURES` are first projected on their 256 leading principal axes, fitted on at most 4096 rows
    drawn by the seed: distances between images live almost wholly there, and 10,000 x 3072 pixels take seconds in place
    of a minute.

    Fewer different rows than clusters leave some clusters empty.

    Args:
        train_features: Rows [N, F] that the centres are fitted to.
        num_clusters: K, from 1 to N.
        seed: Of the starts, the part and the reduction.
        test_features: Rows [M, F] to assign to the nearest centre; None assigns `train_features`.

    Returns:
        Clusters from 0 to K - 1, [N], or [M] where there are `test_features`.

    Raises:
        InputError: If shapes do not fit, K is not from 1 to N, or a feature is not finite.

    Source:
        Lloyd, "Least squares quantization in PCM", 1982; Arthur and Vassilvitskii, "k-means++", 2007.

    Example:
        >>> clusters = kmeans([[0.0], [0.1], [9.0]], num_clusters=2, seed=0)
        >>> bool(clusters[0] == clusters[1]), bool(clusters[0] == clusters[2])
        (True, False)
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    everything = np.asarray(train_features)
    train = as_features(_fitted(everything, num_clusters, seed), "train_features")
    part = len(train) < len(everything)
    test = as_features(test_features, "test_features") if test_features is not None else everything if part else train
    _check(train, test, num_clusters)
    reduce = _reduction(train, seed) if train.shape[1] > MAX_FEATURES else None
    reduced = train if reduce is None else reduce(train)
    # Threads add their sums of centres in the order they finish: with two the sum is the same either way, with more
    # it rounds differently from run to run.
    with warnings.catch_warnings(), threadpool_limits(limits=THREADS, user_api="openmp"):
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        starts: Any = _starts(num_clusters)
        model = KMeans(num_clusters, n_init=starts, max_iter=MAX_ITERATIONS, random_state=seed).fit(reduced)
        if test is train:
            return np.asarray(model.labels_, dtype=np.int64)
        clusters = np.empty(len(test), dtype=np.int64)
        for start in range(0, len(test), ASSIGNED):
            block = as_features(test[start : start + ASSIGNED], "train_features")
            clusters[start : start + ASSIGNED] = model.predict(block if reduce is None else reduce(block))
    return clusters


def _fitted(features: NDArray[Any], num_clusters: int, seed: int) -> NDArray[Any]:
    """The rows that centres are fitted to: all of them, or where that would be too much, some drawn by the seed."""
    if features.ndim != 2 or not features.size or num_clusters < 1:
        return features  # refused later, in words
    width = PCA_FEATURES if features.shape[1] > MAX_FEATURES else features.shape[1]
    bounds = MOST_WORK // (width * num_clusters * _starts(num_clusters)), MOST_VALUES // features.shape[1]
    enough = max(min(bounds), ROWS_A_CLUSTER * num_clusters)
    if enough >= len(features):
        return features
    say(f"K-means finds its centres in {enough:,} of {len(features):,} rows, and assigns all")
    return features[np.sort(np.random.default_rng(seed).choice(len(features), enough, replace=False))]


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images as rows of pixels.

    Args:
        images: uint8 [N, ...].

    Returns:
        Rows [N, D], float32 from 0 to 1, D the number of values in an image.

    Raises:
        InputError: If there are no images, or they are not uint8.

    Example:
        >>> pixels(np.array([[[0, 255], [51, 0]]], dtype=np.uint8))
        array([[0. , 1. , 0.2, 0. ]], dtype=float32)
    """
    if images.dtype != np.uint8 or images.ndim < 2 or not images.size:
        raise InputError(f"images are {images.dtype} of the shape {images.shape}; expected uint8 [N, ...].")
    return np.divide(images.reshape(len(images), -1), np.float32(255), dtype=np.float32)


def _check(train: NDArray[np.float32], test: NDArray[np.float32], num_clusters: int) -> None:
    if train.shape[1] != test.shape[1]:
        raise InputError(f"train_features are {train.shape[1]} wide and test_features {test.shape[1]}; must be equal.")
    if not 1 <= num_clusters <= len(train):
        raise InputError(f"num_clusters is {num_clusters}; allowed are 1 to {len(train)}, the number of rows.")


def _starts(num_clusters: int) -> int:
    return min(max(STARTED_CLUSTERS // num_clusters, 1), RESTARTS)


def _reduction(train: NDArray[np.float32], seed: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The projection on the leading principal axes of `train`.

    Not scikit-learn's PCA, because that divides by the total variance, which is 0 for identical images.
    """
    from sklearn.utils.extmath import randomized_svd

    rows = train
    if len(train) > PCA_ROWS:
        rows = train[np.sort(np.random.default_rng(seed).choice(len(train), PCA_ROWS, replace=False))]
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    options: dict[str, Any] = {"n_components": min(PCA_FEATURES, len(rows)), "n_iter": 2, "random_state": seed}
    axes = randomized_svd(rows - mean, **options)[2].astype(np.float32)
    offset = mean @ axes.T
    # (x - mean) @ axes.T without a centred copy of x
    return lambda features: features @ axes.T - offset
