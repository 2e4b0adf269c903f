"""Metrics x invariances, ACC against brute force, agreement with scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics as reference

from likewise.errors import InputError
from likewise.evaluation import METRICS, accuracy, cluster_scores, contingency, match_clusters

EXACT_FLOAT = 1e-12


def _random_case(seed: int, num_clusters: int, num_classes: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Clusters that follow the classes half of the time."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(num_classes, size=count)
    noise = rng.integers(num_clusters, size=count)
    return np.where(rng.random(count) < 0.5, classes % num_clusters, noise), classes


SHAPES = {
    "square": (4, 4),
    "fewer clusters": (3, 6),
    "more clusters": (7, 3),
    "one cluster": (1, 4),
    "one class": (4, 1),
}
every_metric = pytest.mark.parametrize("name", METRICS)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@every_metric
@every_shape
def test_renaming_clusters_changes_nothing(name, shape):
    assignments, classes = _random_case(0, *shape)
    renamed = np.random.default_rng(1).permutation(shape[0])[assignments]
    score = METRICS[name].function
    assert score(renamed, classes) == pytest.approx(score(assignments, classes), abs=EXACT_FLOAT)


@every_metric
@every_shape
def test_renaming_classes_changes_nothing(name, shape):
    assignments, classes = _random_case(0, *shape)
    words = np.array([f"class {label}" for label in np.random.default_rng(2).permutation(shape[1])])
    score = METRICS[name].function
    assert score(assignments, words[classes]) == pytest.approx(score(assignments, classes), abs=EXACT_FLOAT)


@every_metric
@every_shape
def test_order_of_samples_changes_nothing(name, shape):
    assignments, classes = _random_case(0, *shape)
    order = np.random.default_rng(3).permutation(len(classes))
    score = METRICS[name].function
    assert score(assignments[order], classes[order]) == pytest.approx(score(assignments, classes), abs=EXACT_FLOAT)


@every_metric
@every_shape
def test_symmetry(name, shape):
    assignments, classes = _random_case(0, *shape)
    score = METRICS[name].function
    assert score(classes, assignments) == pytest.approx(score(assignments, classes), abs=EXACT_FLOAT)


@every_metric
def test_an_empty_cluster_changes_nothing(name):
    assignments, classes = _random_case(4, 5, 5)
    with_gap = np.where(assignments >= 2, assignments + 3, assignments)
    score = METRICS[name].function
    assert score(with_gap, classes) == pytest.approx(score(assignments, classes), abs=EXACT_FLOAT)


@every_metric
def test_perfect_is_one(name):
    classes = np.repeat(np.arange(5), 20)
    assert METRICS[name].function(4 - classes, classes) == pytest.approx(1.0, abs=EXACT_FLOAT)


@every_metric
def test_labels_of_every_kind(name):
    score = METRICS[name].function
    expected = score([0, 0, 1, 1, 2], [0, 0, 0, 1, 1])
    words = ["b", "b", "b", "a", "a"]
    for classes in (words, np.array(words), np.array(words, dtype=object), np.array([5, 5, 5, -1, -1], dtype=np.int8)):
        assert score(["x", "x", "y", "y", "z"], classes) == pytest.approx(expected, abs=EXACT_FLOAT)


@every_metric
def test_one_image_is_perfect_and_many_labels_do_not_warn(name):
    score = METRICS[name].function
    assert score([3], ["cat"]) == 1.0
    assert score(np.arange(60), np.arange(60)) == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "expected"), [("acc", 0.4), ("nmi", 0.0), ("ari", 0.0), ("ami", 0.0)])
def test_a_single_cluster(name, expected):
    classes = [0] * 4 + [1] * 3 + [2] * 3
    assert METRICS[name].function([7] * 10, classes) == pytest.approx(expected, abs=EXACT_FLOAT)


@pytest.mark.parametrize("name", ["ari", "ami"])
@pytest.mark.parametrize("num_clusters", [2, 10, 100])
def test_corrected_metrics_are_zero_by_chance(name, num_clusters):
    rng = np.random.default_rng(0)
    scores = [
        METRICS[name].function(rng.integers(num_clusters, size=400), rng.integers(10, size=400)) for _ in range(10)
    ]
    assert abs(np.mean(scores)) < 0.01


@every_shape
def test_agreement_with_scikit_learn(shape):
    assignments, classes = _random_case(5, *shape)
    scores = cluster_scores(assignments, classes)
    assert list(scores) == ["acc", "nmi", "ari", "ami"]
    assert scores["nmi"] == pytest.approx(reference.normalized_mutual_info_score(classes, assignments))
    assert scores["ari"] == pytest.approx(reference.adjusted_rand_score(classes, assignments))
    assert scores["ami"] == pytest.approx(reference.adjusted_mutual_info_score(classes, assignments))
    assert np.array_equal(
        contingency(assignments, classes).table, reference.cluster.contingency_matrix(classes, assignments).T
    )


def _best_by_trying_all(table: np.ndarray) -> int:
    small = table if table.shape[0] <= table.shape[1] else table.T
    choices = permutations(range(small.shape[1]), small.shape[0])
    return max(sum(int(small[row, column]) for row, column in enumerate(choice)) for choice in choices)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 3), (2, 5), (5, 3), (5, 5), (4, 6)], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_accuracy_against_brute_force(shape, seed):
    table = np.random.default_rng(seed).integers(0, 6, size=shape)
    table[0, 0] += 1
    clusters, classes = np.indices(shape).reshape(2, -1)
    expected = _best_by_trying_all(table) / table.sum()
    counts = table.ravel()
    assert accuracy(np.repeat(clusters, counts), np.repeat(classes, counts)) == pytest.approx(expected)
    matching = match_clusters(table)
    assert len(set(matching.values())) == len(matching)
    assert sum(table[cluster, label] for cluster, label in matching.items()) == _best_by_trying_all(table)


def test_leftover_clusters_and_classes_count_as_wrong():
    assert accuracy([0, 1, 2, 3], [0, 0, 1, 1]) == 0.5
    assert accuracy([0, 0, 1, 1], [0, 1, 2, 3]) == 0.5


def test_a_pair_without_images_is_not_matched():
    assert match_clusters([[3, 0], [2, 0]]) == {0: 0}


@every_metric
@pytest.mark.parametrize(
    ("assignments", "classes", "message"),
    [
        ([0, 1], [0], "2 assignments but 1 classes"),
        ([], [], "empty"),
        ([[0, 1]], [[0, 1]], r"shape \(1, 2\)"),
        ([0.5, 1.0], [0, 1], "float64"),
        ([0, 1], ["cat", ""], "1 images have no label"),
        ([0, 1], [None, None], "2 images have no label"),
        ([0, 1], np.array(["cat", 3], dtype=object), "mix types"),
    ],
    ids=["lengths", "empty", "two dimensions", "floats", "empty label", "no label", "mixed"],
)
def test_what_is_refused(name, assignments, classes, message):
    with pytest.raises(InputError, match=message):
        METRICS[name].function(assignments, classes)


@pytest.mark.parametrize("table", [[1, 2], np.zeros((0, 3))], ids=["one dimension", "empty"])
def test_match_clusters_refuses(table):
    with pytest.raises(InputError, match="shape"):
        match_clusters(table)


def test_every_metric_is_described():
    assert all(metric.description and "\n" not in metric.description for metric in METRICS.values())
