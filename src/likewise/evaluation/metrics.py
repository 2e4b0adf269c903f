"""How well clusters agree with classes: ACC, NMI, ARI and AMI.

Cluster numbers carry no meaning, so every metric is unchanged when clusters or classes are renamed. The number of
clusters K and the number of classes C may differ.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import Labels, as_pair


class Contingency(NamedTuple):
    """How many images each cluster shares with each class.

    Attributes:
        table: Counts [K, C].
        clusters: Names of the rows [K], sorted.
        classes: Names of the columns [C], sorted.
    """

    table: NDArray[np.int64]
    clusters: NDArray[np.generic]
    classes: NDArray[np.generic]


def contingency(assignments: Labels, classes: Labels) -> Contingency:
    """How many images each cluster that occurs shares with each class that occurs.

    Args:
        assignments: Cluster of each image [N], integers or strings.
        classes: Class of each image [N], integers or strings.

    Returns:
        The table [K, C] and the names of its rows and columns.

    Raises:
        InputError: If the lengths differ, there are no images, or a label is missing.

    Example:
        >>> found = contingency([0, 0, 1], ["cat", "dog", "dog"])
        >>> found.table.tolist(), found.clusters.tolist(), found.classes.tolist()
        ([[1, 1], [0, 1]], [0, 1], ['cat', 'dog'])
    """
    clusters, truth = as_pair(assignments, classes)
    cluster_names, rows = np.unique(clusters, return_inverse=True)
    class_names, columns = np.unique(truth, return_inverse=True)
    table = count_pairs(rows, columns, len(cluster_names), len(class_names))
    return Contingency(table, cluster_names, class_names)


def count_pairs(rows: NDArray, columns: NDArray, num_rows: int, num_columns: int) -> NDArray[np.int64]:
    """Counts [num_rows, num_columns] of the pairs (row, column), both given as indices [N]."""
    flat = rows.astype(np.int64) * num_columns + columns
    return np.bincount(flat, minlength=num_rows * num_columns).reshape(num_rows, num_columns).astype(np.int64)


def match_clusters(table: ArrayLike) -> dict[int, int]:
    """The one-to-one matching of clusters and classes that covers the most images.

    A cluster and a class that share no image are left unmatched: such a pair adds nothing and would be arbitrary.

    Args:
        table: Counts [K, C], K and C may differ.

    Returns:
        Row (cluster) -> column (class), at most min(K, C) pairs.

    Raises:
        InputError: If the table is not two-dimensional, or empty.

    Source:
        Kuhn, "The Hungarian method for the assignment problem", 1955.

    Example:
        >>> match_clusters([[0, 5], [3, 1], [0, 2]])
        {0: 1, 1: 0}
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.asarray(table)
    if counts.ndim != 2 or counts.size == 0:
        raise InputError(f"the table has the shape {counts.shape}; expected [clusters, classes], both at least 1.")
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if counts[row, column] > 0}


def accuracy(assignments: Labels, classes: Labels) -> float:
    """Share of images whose cluster is matched to their class, under the best one-to-one matching (ACC).

    Where K > C, images of the clusters that are left over count as wrong; where K < C, so do images of the classes
    that are left over.

    Args:
        assignments: Cluster of each image [N].
        classes: Class of each image [N].

    Returns:
        A number above 0 and at most 1.

    Raises:
        InputError: As `contingency`.

    Example:
        >>> accuracy([1, 1, 0, 0], ["cat", "cat", "dog", "cat"])
        0.75
    """
    table = contingency(assignments, classes).table
    matched = sum(int(table[cluster, label]) for cluster, label in match_clusters(table).items())
    return matched / int(table.sum())


def nmi(assignments: Labels, classes: Labels) -> float:
    """Mutual information of clusters and classes, divided by the arithmetic mean of their entropies (NMI).

    Args:
        assignments: Cluster of each image [N].
        classes: Class of each image [N].

    Returns:
        A number from 0 to 1. It is not corrected for chance: it grows with K even for random clusters.

    Raises:
        InputError: As `contingency`.

    Example:
        >>> nmi([1, 1, 0, 0], ["cat", "cat", "dog", "dog"])
        1.0
    """
    from sklearn.metrics import normalized_mutual_info_score

    score = normalized_mutual_info_score(*_codes(assignments, classes), average_method="arithmetic")
    return min(1.0, max(0.0, float(score)))  # rounding may leave the range by some 1e-16


def ari(assignments: Labels, classes: Labels) -> float:
    """Share of image pairs that clusters and classes agree on, corrected for chance (adjusted Rand index).

    Args:
        assignments: Cluster of each image [N].
        classes: Class of each image [N].

    Returns:
        A number from -0.5 to 1; near 0 for random clusters.

    Raises:
        InputError: As `contingency`.

    Example:
        >>> ari([1, 1, 0, 0], ["cat", "cat", "dog", "dog"])
        1.0
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_codes(assignments, classes)))


def ami(assignments: Labels, classes: Labels) -> float:
    """Mutual information of clusters and classes, corrected for chance, normalised by the arithmetic mean (AMI).

    Args:
        assignments: Cluster of each image [N].
        classes: Class of each image [N].

    Returns:
        A number of at most 1; near 0 for random clusters, whatever K is.

    Raises:
        InputError: As `contingency`.

    Example:
        >>> round(ami([1, 1, 0, 0], ["cat", "cat", "dog", "dog"]), 6)
        1.0
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return min(1.0, float(adjusted_mutual_info_score(*_codes(assignments, classes), average_method="arithmetic")))


class Metric(NamedTuple):
    """One row of `METRICS`.

    Attributes:
        function: (assignments [N], classes [N]) -> number.
        description: One line for listings and reports.
    """

    function: Callable[[Labels, Labels], float]
    description: str


METRICS: dict[str, Metric] = {
    "acc": Metric(accuracy, "share of images in the right cluster, under the best one-to-one matching"),
    "nmi": Metric(nmi, "normalised mutual information, arithmetic mean"),
    "ari": Metric(ari, "adjusted Rand index: agreement on pairs of images, corrected for chance"),
    "ami": Metric(ami, "mutual information, corrected for chance"),
}


def cluster_scores(assignments: Labels, classes: Labels) -> dict[str, float]:
    """Every metric of `METRICS`.

    Args:
        assignments: Cluster of each image [N].
        classes: Class of each image [N]; leave out images without a label first (see `labelled`).

    Returns:
        Name -> score, with the keys acc, nmi, ari and ami.

    Raises:
        InputError: As `contingency`.

    Example:
        >>> cluster_scores([0, 0, 1, 1], [0, 0, 1, 1])["acc"]
        1.0
    """
    return {name: metric.function(assignments, classes) for name, metric in METRICS.items()}


def _codes(assignments: Labels, classes: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Classes and clusters as integers from 0, in scikit-learn's order of arguments (truth first)."""
    clusters, truth = as_pair(assignments, classes)
    return np.unique(truth, return_inverse=True)[1], np.unique(clusters, return_inverse=True)[1]
