"""The linear probe: what it reaches, and what it does not depend on."""

import numpy as np
import pytest
import torch

from likewise.errors import InputError
from likewise.inference import linear_probe


def _groups(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=count)
    centers = np.random.default_rng(9).normal(size=(5, 8))
    return (centers[labels] + rng.normal(size=(count, 8))).astype(np.float32), labels


def test_it_comes_near_to_the_best_linear_classifier() -> None:
    from sklearn.linear_model import LogisticRegression

    train, test = _groups(600, 0), _groups(600, 1)
    best = LogisticRegression(C=1e3, max_iter=2000).fit(*train).score(*test)
    assert linear_probe(*train, *test, epochs=30) == pytest.approx(best, abs=0.02)


def test_scale_and_place_of_the_features_do_not_matter() -> None:
    train, test = _groups(300, 0), _groups(300, 1)
    plain = linear_probe(*train, *test, epochs=10)
    moved = linear_probe(100 * train[0] + 7, train[1], 100 * test[0] + 7, test[1], epochs=10)
    assert moved == pytest.approx(plain, abs=0.01)


def test_the_seed_decides_and_nothing_else() -> None:
    train, test = _groups(300, 0), _groups(301, 1)
    state = torch.random.get_rng_state()
    first = linear_probe(*train, *test, seed=3, epochs=3)
    torch.manual_seed(5)
    assert linear_probe(*train, *test, seed=3, epochs=3) == first
    torch.random.set_rng_state(state)
    linear_probe(*train, *test, seed=3, epochs=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_smallest_sets() -> None:
    one = np.ones((1, 3), dtype=np.float32)
    assert linear_probe(one, np.array([0]), one, np.array([0]), epochs=1) == 1.0
    assert linear_probe(one, np.array([0]), one, np.array([1]), epochs=1) == 0.0, "a class that was never seen"
    with pytest.raises(InputError, match="one of the two has none"):
        linear_probe(one[:0], np.array([], dtype=np.int64), one, np.array([0]))
