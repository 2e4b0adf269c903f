"""Per-class detail, the confusion table, the label-free summary, and that importing is light."""

import json
import subprocess
import sys

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.evaluation import accuracy, cluster_summary, confusion, per_class

NAMES = ["cat", "dog", "owl"]


def test_per_class_by_hand():
    rows = per_class([2, 2, 2, 0, 0, 0], ["cat", "cat", "dog", "dog", "dog", "cat"], NAMES)
    assert rows == [
        {"class": "cat", "images": 3, "cluster": 2, "recall": 2 / 3, "precision": 2 / 3},
        {"class": "dog", "images": 3, "cluster": 0, "recall": 2 / 3, "precision": 2 / 3},
        {"class": "owl", "images": 0, "cluster": None, "recall": 0.0, "precision": 0.0},
    ]
    assert json.loads(json.dumps(rows)) == rows


def test_indices_and_names_of_classes_say_the_same():
    clusters, classes = np.array([0, 1, 1, 2]), np.array([2, 0, 0, 1])
    words = np.array(NAMES)[classes]
    for given in (words, words.astype(object), list(words)):
        assert per_class(clusters, given, NAMES) == per_class(clusters, classes, NAMES)
        assert confusion(clusters, given, NAMES, 4) == confusion(clusters, classes, NAMES, 4)


@pytest.mark.parametrize("num_clusters", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_confusion_keeps_every_image_and_puts_matches_on_the_diagonal(num_clusters, seed):
    rng = np.random.default_rng(seed)
    names = [f"class {label}" for label in range(5)]
    classes = rng.integers(5, size=120)
    clusters = np.where(rng.random(120) < 0.7, classes, rng.integers(num_clusters, size=120)) % num_clusters
    table = confusion(clusters, classes, names, num_clusters)
    assert json.loads(json.dumps(table)) == table
    assert sorted(table["clusters"]) == list(range(num_clusters))
    assert sorted(table["classes"]) == names
    for row, cluster in enumerate(table["clusters"]):
        for column, name in enumerate(table["classes"]):
            assert table["counts"][row][column] == np.sum((clusters == cluster) & (classes == names.index(name)))
    assert np.trace(np.array(table["counts"])) / 120 == pytest.approx(accuracy(clusters, classes))
    if num_clusters >= 5:
        assert table["classes"] == names


def test_empty_clusters_keep_a_row():
    table = confusion([3, 3, 1], [0, 0, 2], NAMES, 5)
    assert table["clusters"] == [3, 0, 1, 2, 4]
    assert table["counts"][1] == table["counts"][3] == table["counts"][4] == [0, 0, 0]


@pytest.mark.parametrize(
    ("assignments", "classes", "names", "message"),
    [
        ([0, 3], [0, 1], NAMES, "assignments range from 0 to 3; allowed are 0 to 2"),
        ([-1, 0], [0, 1], NAMES, "range from -1"),
        (["a", "b"], [0, 1], NAMES, "strings"),
        ([0, 1], [0, 3], NAMES, "classes range"),
        ([0, 1], ["cat", "dgo"], NAMES, "Did you mean 'dog'"),
        ([0, 1], [0, 0], ["cat", "cat"], "must occur once"),
        ([0, 1, 1], [0, 0], NAMES, "3 assignments but 2 classes"),
    ],
)
def test_confusion_refuses(assignments, classes, names, message):
    with pytest.raises(InputError, match=message):
        confusion(assignments, classes, names, 3)


def test_summary_by_hand():
    probabilities = np.array([[0.995, 0.005, 0, 0], [0.92, 0.08, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0]], np.float32)
    summary = cluster_summary([0, 0, 0, 1], probabilities)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["sizes"] == [3, 1, 0, 0]
    assert (summary["num_images"], summary["num_clusters"], summary["num_empty"]) == (4, 4, 2)
    assert summary["largest_share"] == 0.75
    assert summary["size_entropy"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(4))
    assert summary["mean_confidence"] == pytest.approx((0.995 + 0.92 + 0.5 + 1) / 4)
    assert summary["median_confidence"] == pytest.approx((0.995 + 0.92) / 2)
    assert (summary["confident_99"], summary["confident_90"]) == (0.5, 0.75)
    rows = [-sum(p * np.log(p) for p in row if p > 0) for row in probabilities.tolist()]
    assert summary["conditional_entropy"] == pytest.approx(np.mean(rows), rel=1e-6)


@pytest.mark.parametrize("num_clusters", [1, 2, 7])
def test_summary_of_even_and_of_collapsed_clusters(num_clusters):
    sure = np.eye(num_clusters)[np.arange(70) % num_clusters]
    even = cluster_summary(sure.argmax(1), sure)
    assert even["size_entropy"] == pytest.approx(1.0)
    assert (even["conditional_entropy"], even["mean_confidence"]) == (0.0, 1.0)
    unsure = np.full((70, num_clusters), 1 / num_clusters)
    collapsed = cluster_summary(np.zeros(70, int), unsure)
    assert collapsed["size_entropy"] == (1.0 if num_clusters == 1 else 0.0)
    assert collapsed["conditional_entropy"] == pytest.approx(np.log(num_clusters))


@pytest.mark.parametrize(
    ("assignments", "probabilities", "message"),
    [
        ([0], [[3.0, -1.0]], "softmax"),
        ([0], [[np.nan, 0.5]], "softmax"),
        ([0, 1], [[0.5, 0.5]], "2 assignments but 1 rows"),
        ([2], [[0.5, 0.5]], "allowed are 0 to 1"),
        ([0], [0.5, 0.5], "shape"),
    ],
)
def test_summary_refuses(assignments, probabilities, message):
    with pytest.raises(InputError, match=message):
        cluster_summary(assignments, probabilities)


def test_importing_is_light():
    code = (
        "import sys, likewise.evaluation; "
        "print([name for name in ('torch', 'sklearn', 'scipy', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
