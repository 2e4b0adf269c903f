"""Neighbours are those that a plain loop finds."""

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


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_images(count: int) -> None:
    with pytest.raises(InputError, match="more images"):
        nearest_images(np.eye(3, dtype=np.float32), count)
