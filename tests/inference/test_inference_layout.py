"""The map: its frame, its determinism, and that what is apart stays apart."""

import sys

import numpy as np
import pytest

from likewise.inference.layout import _among_neighbours, layout


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two groups far apart, and which is which."""
    groups = np.arange(count) % 2
    return noise(count) + 20 * groups[:, None].astype(np.float32), groups


def assert_separated(places: np.ndarray, groups: np.ndarray) -> None:
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(groups[distances.argmin(1)], groups)
    middles = [places[groups == group].mean(0) for group in (0, 1)]
    spread = max(places[groups == group].std(0).max() for group in (0, 1))
    assert np.linalg.norm(middles[0] - middles[1]) > 2 * spread


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 50])
def test_frame(count: int) -> None:
    places = layout([noise(count)])
    assert places.shape == (count, 2)
    assert places.dtype == np.float32
    assert np.isfinite(places).all()
    assert (np.abs(places) <= 1 + 1e-6).all()
    if count >= 8:
        assert np.abs(places).max() == pytest.approx(1)
        np.testing.assert_allclose(places.max(0) + places.min(0), 0, atol=1e-5)
    assert len(np.unique(places, axis=0)) == count


@pytest.mark.parametrize("count", [7, 8, 50])
def test_the_seed_decides_the_map(count: int) -> None:
    np.random.seed(1)  # noqa: NPY002
    first = layout([noise(count)], seed=3)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, layout([noise(count)], seed=3))


def test_the_features_are_left_alone() -> None:
    features = noise(40)
    layout([features])
    np.testing.assert_array_equal(features, noise(40))


@pytest.mark.parametrize("count", [24, 100])
def test_groups_that_are_apart_stay_apart(count: int) -> None:
    features, groups = blobs(count)
    assert_separated(layout([features]), groups)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types_of_features(dtype: type) -> None:
    assert layout([noise(20).astype(dtype)]).dtype == np.float32


@pytest.mark.parametrize("count", [8, 50])
def test_features_that_are_all_the_same(count: int) -> None:
    places = layout([np.ones((count, 4), np.float32)])
    assert np.isfinite(places).all()
    assert (np.abs(places) <= 1 + 1e-6).all()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    # the package has the function under the name of the module
    monkeypatch.setattr(sys.modules["likewise.inference.layout"], "MOST_LAID_OUT", 30)


@pytest.mark.usefixtures("few")
def test_more_images_than_are_laid_out() -> None:
    features, groups = blobs(120)
    places = layout([features], seed=1)
    assert places.shape == (120, 2)
    assert np.abs(places).max() == pytest.approx(1)
    np.testing.assert_array_equal(places, layout([features], seed=1))
    assert_separated(places, groups)


@pytest.mark.usefixtures("few")
def test_the_same_image_twice_goes_to_one_place() -> None:
    places = layout([np.tile(blobs(50)[0], (2, 1))], seed=1)
    np.testing.assert_allclose(places[:50], places[50:], atol=1e-5)


def test_places_among_neighbours_do_not_depend_on_blocks() -> None:
    known, places = noise(20), noise(20, seed=1)[:, :2]
    features = noise(5000, seed=2)
    found = _among_neighbours([features], known, places)
    assert found.shape == (5000, 2)
    for row in (0, 4095, 4096, 4999):
        nearest = np.argsort(np.linalg.norm(known - features[row], axis=1))[:3]
        np.testing.assert_allclose(found[row], places[nearest].mean(0), rtol=1e-5)


def test_parts_are_laid_out_as_if_they_were_joined() -> None:
    features = noise(60)
    np.testing.assert_array_equal(layout([features[:, :4], features[:, 4:]]), layout([features]))
