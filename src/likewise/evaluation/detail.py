"""Where clusters and classes agree and where they do not, class by class; plain Python types, ready for JSON."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from likewise.errors import InputError, unknown_name
from likewise.evaluation._checks import Labels, as_indices, as_pair
from likewise.evaluation.metrics import count_pairs, match_clusters

ClassDetail = TypedDict(
    "ClassDetail", {"class": str, "images": int, "cluster": int | None, "recall": float, "precision": float}
)


class Confusion(TypedDict):
    """Counts [clusters, classes] with the names of the rows and columns."""

    clusters: list[int]
    classes: list[str]
    counts: list[list[int]]


def per_class(assignments: Labels, classes: Labels, class_names: Sequence[str]) -> list[ClassDetail]:
    """What became of each class, in the order of `class_names`.

    Args:
        assignments: Cluster of each image [N], integers from 0.
        classes: Class of each image [N]: indices into `class_names`, or the names themselves.
        class_names: Names of all classes [C]; a class may be without images.

    Returns:
        One entry for each class: `class` (name), `images` (count), `cluster` (the one matched to it, or None), `recall`
        (share of the class that lies in that cluster), `precision` (share of that cluster that is of the class).
        Both shares are 0 where no cluster is matched.

    Raises:
        InputError: If the lengths differ, or a cluster or class is not allowed.

    Example:
        >>> per_class([1, 1, 0], ["cat", "cat", "dog"], ["cat", "dog"])[0]
        {'class': 'cat', 'images': 2, 'cluster': 1, 'recall': 1.0, 'precision': 1.0}
    """
    as_pair(assignments, classes)
    num_clusters = int(as_indices(assignments, np.iinfo(np.int32).max, "assignments").max()) + 1
    table = _table(assignments, classes, class_names, num_clusters)
    cluster_of = {label: cluster for cluster, label in match_clusters(table).items()}
    return [_one_class(table, column, name, cluster_of.get(column)) for column, name in enumerate(class_names)]


def confusion(assignments: Labels, classes: Labels, class_names: Sequence[str], num_clusters: int) -> Confusion:
    """The table of clusters against classes, with matched pairs on the diagonal.

    Classes keep the order of `class_names`, unless there are fewer clusters than classes: then the classes that are
    matched come first, because the diagonal would otherwise leave the table. Clusters without a class, empty ones
    included, fill the rows that are left, in the order of their numbers.

    Args:
        assignments: Cluster of each image [N], from 0 to `num_clusters` - 1.
        classes: Class of each image [N]: indices into `class_names`, or the names themselves.
        class_names: Names of all classes [C].
        num_clusters: K, how many clusters were asked for.

    Returns:
        `clusters` (numbers of the rows [K]), `classes` (names of the columns [C]) and `counts` [K][C].

    Raises:
        InputError: If the lengths differ, or a cluster or class is not allowed.

    Example:
        >>> confusion([1, 1, 0], ["cat", "cat", "dog"], ["cat", "dog"], 3)
        {'clusters': [1, 0, 2], 'classes': ['cat', 'dog'], 'counts': [[2, 0], [0, 1], [0, 0]]}
    """
    as_pair(assignments, classes)
    table = _table(assignments, classes, class_names, num_clusters)
    cluster_of = {label: cluster for cluster, label in match_clusters(table).items()}
    columns = _order_classes(len(class_names), num_clusters, cluster_of)
    rows = _order_clusters(num_clusters, [cluster_of.get(column) for column in columns])
    return {
        "clusters": rows,
        "classes": [str(class_names[column]) for column in columns],
        "counts": table[np.ix_(rows, columns)].tolist(),
    }


def _order_classes(num_classes: int, num_clusters: int, cluster_of: dict[int, int]) -> list[int]:
    if num_clusters >= num_classes:
        return list(range(num_classes))
    return sorted(range(num_classes), key=lambda column: column not in cluster_of)


def _order_clusters(num_clusters: int, matched: list[int | None]) -> list[int]:
    """Rows such that row i is the cluster matched to column i; the others fill the gaps in order."""
    taken = {cluster for cluster in matched if cluster is not None}
    spare = iter(cluster for cluster in range(num_clusters) if cluster not in taken)
    slots = (matched + [None] * num_clusters)[:num_clusters]
    return [next(spare) if cluster is None else cluster for cluster in slots]


def _one_class(table: NDArray[np.int64], column: int, name: str, cluster: int | None) -> ClassDetail:
    images = int(table[:, column].sum())
    hits = 0 if cluster is None else int(table[cluster, column])
    recall = hits / images if hits else 0.0
    precision = hits / int(table[cluster].sum()) if hits else 0.0
    return {"class": str(name), "images": images, "cluster": cluster, "recall": recall, "precision": precision}


def _table(assignments: Labels, classes: Labels, class_names: Sequence[str], num_clusters: int) -> NDArray[np.int64]:
    """Counts [num_clusters, C], rows and columns in the order of the numbers and of `class_names`."""
    rows = as_indices(assignments, num_clusters, "assignments")
    columns = _class_indices(np.asarray(classes), class_names)
    return count_pairs(rows, columns, num_clusters, len(class_names))


def _class_indices(classes: NDArray[np.generic], class_names: Sequence[str]) -> NDArray[np.int64]:
    if len(class_names) == 0 or len(set(class_names)) != len(class_names):
        raise InputError(f"{len(class_names)} class names, {len(set(class_names))} different; each must occur once.")
    if classes.dtype.kind not in "UO":
        return as_indices(classes, len(class_names), "classes")
    position = {str(name): index for index, name in enumerate(class_names)}
    found, inverse = np.unique(classes.astype(np.str_), return_inverse=True)
    for name in found:
        if str(name) not in position:
            raise unknown_name("class", str(name), position)
    return np.array([position[str(name)] for name in found], dtype=np.int64)[inverse]
