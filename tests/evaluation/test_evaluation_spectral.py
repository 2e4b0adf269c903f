"""Spectral clustering finds what hangs together, in any number of rows."""

from importlib import import_module

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.evaluation import accuracy, spectral


def rings(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    classes = np.arange(count) % 2
    angle = generator.uniform(0, 2 * np.pi, count)
    radius = 1 + 3 * classes + generator.normal(0, 0.05, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), classes


def test_finds_rings_that_k_means_cannot() -> None:
    features, classes = rings(300)
    assert accuracy(spectral(features, 2, seed=0), classes) == 1.0


def test_rows_beyond_the_graph_and_other_rows_follow_their_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("likewise.evaluation.spectral"), "MAX_ROWS", 200)
    features, classes = rings(400)
    found = spectral(features, 2, seed=0)
    assert accuracy(found, classes) == 1.0
    assert np.array_equal(spectral(features, 2, 0, features), found)
    assert np.array_equal(spectral(features, 2, 0, features[:7]), found[:7])


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match="5 rows takes fewer"):
        spectral(np.eye(5), 5, seed=0)
