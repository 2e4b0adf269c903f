"""Distances, spreads, silhouette and Davies-Bouldin against scikit-learn and loops, and where there is no answer."""

import json

import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score, silhouette_score

from likewise.errors import InputError
from likewise.evaluation import cluster_geometry
from likewise.evaluation.geometry import MOST_DISTANCES, SILHOUETTE_ROWS


def blobs(count: int = 200, clusters: int = 4, width: int = 6, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, clusters, count)
    labels[:clusters] = np.arange(clusters)
    return scale * (3 * np.eye(clusters, width)[labels] + generator.normal(size=(count, width))), labels


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_agrees_with_scikit_learn(scale: float) -> None:
    features, clusters = blobs(scale=scale)
    found = cluster_geometry(features, clusters)
    assert found["silhouette"] == pytest.approx(silhouette_score(features, clusters), abs=1e-4)
    assert found["davies_bouldin"] == pytest.approx(davies_bouldin_score(features, clusters), rel=1e-4)


def test_distances_and_spreads_are_the_loop() -> None:
    features, clusters = blobs()
    found = cluster_geometry(features, clusters)
    means = [features[clusters == k].mean(axis=0) for k in range(4)]
    pairs = [np.linalg.norm(means[i] - means[j]) for i in range(4) for j in range(i + 1, 4)]
    spreads = [np.linalg.norm(features[clusters == k] - means[k], axis=1).mean() for k in range(4)]
    assert found["clusters"] == [0, 1, 2, 3]
    np.testing.assert_allclose(found["spreads"], spreads, rtol=1e-5)
    np.testing.assert_allclose(np.array(found["distances"])[np.triu_indices(4, k=1)], pairs, rtol=1e-5)
    assert found["min_distance"] == pytest.approx(min(pairs), rel=1e-5)
    assert found["mean_distance"] == pytest.approx(np.mean(pairs), rel=1e-5)
    assert found["mean_spread"] == pytest.approx(np.mean(spreads), rel=1e-5)


def test_names_of_clusters_and_empty_ones_change_nothing() -> None:
    features, clusters = blobs()
    found, renamed = cluster_geometry(features, clusters), cluster_geometry(features, 2 * clusters + 3)
    assert renamed["clusters"] == [3, 5, 7, 9]
    assert {**renamed, "clusters": 0} == {**found, "clusters": 0}


def test_moved_features_give_the_same() -> None:
    features, clusters = blobs()
    found, moved = cluster_geometry(features, clusters), cluster_geometry(features + 100, clusters)
    assert found["silhouette"] == pytest.approx(moved["silhouette"], abs=1e-3)
    assert found["davies_bouldin"] == pytest.approx(moved["davies_bouldin"], rel=1e-3)


def test_one_cluster_has_a_spread_and_nothing_else() -> None:
    features, _ = blobs()
    found = cluster_geometry(features, np.full(len(features), 7))
    assert found["clusters"] == [7]
    assert found["distances"] == [[0]]
    assert found["mean_spread"] > 0
    assert {found[name] for name in ("min_distance", "mean_distance", "silhouette", "davies_bouldin")} == {None}


@pytest.mark.parametrize("value", [0.0, 0.1, -3e5])
def test_identical_features(value: float) -> None:
    found = cluster_geometry(np.full((30, 5), value), np.arange(30) % 3)
    assert (found["min_distance"], found["mean_spread"]) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert found["silhouette"] == 0
    json.dumps(found, allow_nan=False)


def test_every_row_its_own_cluster() -> None:
    found = cluster_geometry(np.arange(5.0)[:, None], np.arange(5))
    assert (found["silhouette"], found["mean_spread"], found["davies_bouldin"]) == (0, 0, 0)


def test_one_row() -> None:
    assert cluster_geometry([[1.0, 2.0]], [0])["mean_spread"] == 0


def test_many_rows_are_sampled_the_same_way_each_time() -> None:
    features, clusters = blobs(SILHOUETTE_ROWS + 2000)
    found = cluster_geometry(features, clusters)
    assert found == cluster_geometry(features, clusters)
    assert found["silhouette"] == pytest.approx(silhouette_score(features, clusters), abs=0.01)


def test_of_many_clusters_the_largest_are_kept() -> None:
    count = MOST_DISTANCES + 30
    clusters = np.concatenate([np.arange(count), np.arange(30, count)])
    found = cluster_geometry(np.random.default_rng(0).normal(size=(len(clusters), 3)), clusters)
    assert found["clusters"] == list(range(30, count))
    assert np.shape(found["distances"]) == (MOST_DISTANCES, MOST_DISTANCES)


@pytest.mark.parametrize(
    ("features", "clusters", "message"),
    [
        ([[1.0], [2.0]], [0], "2 rows of features but 1 clusters"),
        ([[1.0], [np.nan]], [0, 1], "not finite"),
        ([1.0, 2.0], [0, 1], "shape"),
        ([[1.0], [2.0]], [0, -1], "range from -1"),
    ],
)
def test_what_does_not_fit_is_refused(features: list, clusters: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cluster_geometry(features, clusters)
