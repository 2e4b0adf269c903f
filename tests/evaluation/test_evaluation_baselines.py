"""K-means and the rows of pixels it gets."""

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.evaluation import accuracy, baselines, kmeans, pixels


def _blobs(width: int, count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=count)
    centers = np.random.default_rng(99).normal(size=(5, width))
    return centers[labels] + 0.1 * rng.normal(size=(count, width)), labels


PART = {"MOST_WORK": 0, "ROWS_A_CLUSTER": 20}
PATHS = {"full": (16, {}), "part": (16, PART), "reduced": (2100, {"PCA_ROWS": 100}), "both": (2100, PART)}


@pytest.mark.parametrize(("width", "settings"), PATHS.values(), ids=PATHS)
def test_kmeans_finds_blobs_and_repeats_itself(width, settings, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setattr(baselines, name, value)
    features, labels = _blobs(width)
    clusters = kmeans(features, 5, seed=0)
    assert clusters.shape == (300,)
    assert clusters.dtype == np.int64
    assert accuracy(clusters, labels) == 1.0
    assert np.array_equal(clusters, kmeans(features, 5, seed=0))
    more, more_labels = _blobs(width, count=80, seed=7)
    assert np.array_equal(kmeans(features, 5, 0, test_features=features), clusters)
    assert accuracy(kmeans(features, 5, 0, test_features=more), more_labels) == 1.0


def test_of_very_many_rows_a_part_is_enough(monkeypatch, tmp_path, capsys):
    features, labels = _blobs(16, count=900)
    monkeypatch.setattr(baselines, "ROWS_A_CLUSTER", 1)
    monkeypatch.setattr(baselines, "MOST_VALUES", 16 * 260)
    monkeypatch.setattr(baselines, "ASSIGNED", 256)
    clusters = kmeans(features, 5, seed=0)
    assert "260 of 900 rows" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "MOST_WORK", 16 * 5 * 10 * 100)
        kmeans(features, 5, seed=0)
        assert "100 of 900 rows" in capsys.readouterr().err
        kmeans(features[:100], 5, seed=0)
        assert capsys.readouterr().err == ""
    assert accuracy(clusters, labels) == 1.0
    np.save(tmp_path / "features.npy", features.astype(np.float32))
    assert np.array_equal(clusters, kmeans(np.load(tmp_path / "features.npy", mmap_mode="r"), 5, seed=0))
    more, more_labels = _blobs(16, count=80, seed=7)
    assert accuracy(kmeans(features, 5, 0, test_features=more), more_labels) == 1.0
    features[-1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        kmeans(features, 5, seed=0)


def test_the_same_seed_repeats_itself_where_clusters_are_not_clear():
    features = np.random.default_rng(0).random((500, 30))
    first = kmeans(features, 8, seed=3)
    assert all(np.array_equal(first, kmeans(features, 8, seed=3)) for _ in range(3))
    assert not np.array_equal(first, kmeans(features, 8, seed=4))


def test_kmeans_leaves_global_random_state_and_input_alone():
    features = np.random.default_rng(0).random((50, 3000)).astype(np.float32)
    copy = features.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    kmeans(features, 3, seed=0)
    assert np.array_equal(features, copy)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("rows", [100, 3], ids=["full", "part"])
@pytest.mark.parametrize("width", [3, 2100])
def test_fewer_different_rows_than_clusters(rows, width, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_WORK", 0)
    monkeypatch.setattr(baselines, "ROWS_A_CLUSTER", rows)
    assert len(set(kmeans(np.ones((20, width)), 5, seed=0))) == 1
    two = np.repeat([[0.0], [1.0]], 10, axis=0) * np.ones(width)
    clusters = kmeans(two, 5, seed=0)
    assert len(set(clusters[:10])) == len(set(clusters[10:])) == 1
    assert clusters[0] != clusters[-1]


def test_as_many_clusters_as_rows():
    assert sorted(kmeans(np.arange(6.0)[:, None], 6, seed=0)) == list(range(6))


@pytest.mark.parametrize(
    ("train", "num_clusters", "test", "message"),
    [
        (np.ones((3, 2)), 4, None, "allowed are 1 to 3"),
        (np.ones((3, 2)), 0, None, "allowed are 1 to 3"),
        (np.ones((3, 2)), 2, np.ones((3, 4)), "must be equal"),
        (np.ones(3), 2, None, "shape"),
        (np.ones((0, 2)), 2, None, "shape"),
        (np.array([[np.inf, -np.inf], [0, 0]]), 2, None, "not finite"),
        (np.array([[np.nan, 1], [0, 0]]), 2, None, "not finite"),
        (np.array([[1e300, 1], [0, 0]]), 2, None, "not finite"),
        (np.ones((3, 2)), 2, np.full((1, 2), np.nan), "test_features hold"),
    ],
)
def test_kmeans_refuses(train, num_clusters, test, message):
    with pytest.raises(InputError, match=message):
        kmeans(train, num_clusters, 0, test)


def test_pixels_are_rows_from_0_to_1():
    images = np.random.default_rng(0).integers(256, size=(10, 4, 5, 3), dtype=np.uint8)
    rows = pixels(images)
    assert rows.dtype == np.float32
    assert np.array_equal(rows, (images.reshape(10, 60) / 255).astype(np.float32))
    assert pixels(np.array([[0, 255]], dtype=np.uint8)).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((2, 3), dtype=np.float32), "float32"),
        (np.ones(3, dtype=np.uint8), "shape"),
        (np.ones((0, 3), dtype=np.uint8), "shape"),
    ],
)
def test_pixels_refuses(images, message):
    with pytest.raises(InputError, match=message):
        pixels(images)
