"""Neighbours are those that a plain loop finds."""

from pathlib import Path

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.inference import nearest_images, neighbors


def test_neighbours_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "BLOCK", 7)
    features = (
        np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32) * np.arange(1, 24, dtype=np.float32)[:, None]
    )
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row, found in enumerate(nearest_images(features, 4)):
        others = sorted((other for other in range(23) if other != row), key=lambda o: -float(unit[row] @ unit[o]))
        assert found.tolist() == others[:4]


def test_twins_find_each_other_and_not_themselves() -> None:
    features = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    assert nearest_images(features, 1)[:, 0].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def groups_of_images(size: int = 20) -> np.ndarray:
    """Features of 10 groups that are far apart."""
    random = np.random.default_rng(0)
    return (np.eye(10).repeat(size, axis=0) + 0.1 * random.normal(size=(10 * size, 10))).astype(np.float32)


def test_many_images_are_compared_with_near_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features = groups_of_images()
    exact = nearest_images(features, 3)
    monkeypatch.setattr(neighbors, "MOST_EXACT", 100)
    monkeypatch.setattr(neighbors, "COMPARED", 60)
    monkeypatch.setattr(neighbors, "BLOCK", 9)
    found = nearest_images(features, 3)
    assert (found == exact).all(axis=1).mean() > 0.9
    assert np.array_equal(found, nearest_images(features, 3))
    np.save(tmp_path / "features.npy", features)
    assert np.array_equal(found, nearest_images(np.load(tmp_path / "features.npy", mmap_mode="r"), 3))


def test_many_equal_images_have_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MOST_EXACT", 100)
    monkeypatch.setattr(neighbors, "COMPARED", 7)
    found = nearest_images(np.ones((200, 4), dtype=np.float32), 6)
    assert all(len({row, *others}) == 7 for row, others in enumerate(found.tolist()))


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_images(count: int) -> None:
    with pytest.raises(InputError, match="more images"):
        nearest_images(np.eye(3, dtype=np.float32), count)
