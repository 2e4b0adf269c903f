"""Votes of the nearest images against a loop, and the one number that they give."""

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.evaluation import class_leakage, knn, knn_accuracy


def _groups(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    centers = np.random.default_rng(9).normal(size=(4, 6))
    return centers[labels] + rng.normal(size=(count, 6)), labels


def _loop(train, train_labels, test, test_labels, k, temperature, leave_out):
    right = 0
    for place, (one, truth) in enumerate(zip(test, test_labels, strict=True)):
        near = []
        for other, (row, label) in enumerate(zip(train, train_labels, strict=True)):
            if not (leave_out and other == place):
                near.append((one @ row / np.linalg.norm(one) / np.linalg.norm(row), label))
        votes = {}
        for cosine, label in sorted(near, reverse=True)[:k]:
            votes[label] = votes.get(label, 0) + np.exp(cosine / temperature)
        right += max(sorted(votes), key=lambda label: votes[label]) == truth
    return right / len(test)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5), (500, 0.2)])
def test_votes_are_those_of_a_loop(k, temperature, monkeypatch):
    monkeypatch.setattr(knn, "BLOCK", 7)
    train, train_labels = _groups(60)
    test, test_labels = _groups(25, seed=1)
    expected = _loop(train, train_labels, test, test_labels, k, temperature, leave_out=False)
    assert 0.3 < expected < 1
    assert knn_accuracy(train, train_labels, test, test_labels, k, temperature) == expected
    expected = _loop(train, train_labels, train, train_labels, k, temperature, leave_out=True)
    assert knn_accuracy(train, train_labels, k=k, temperature=temperature) == expected


def test_an_image_never_votes_for_itself():
    features = np.random.default_rng(0).normal(size=(200, 50))
    labels = np.arange(200)
    assert knn_accuracy(features, labels, features, labels, k=1) == 1.0
    assert knn_accuracy(features, labels, k=1) == 0.0


def test_lengths_names_and_low_temperatures_change_nothing():
    features, labels = _groups(80)
    plain = knn_accuracy(features, labels, k=1)
    assert knn_accuracy(features * np.linspace(1e-3, 1e3, 80)[:, None], labels, k=1) == plain
    assert knn_accuracy(features, np.array(list("dcba"))[labels], k=1) == plain
    assert knn_accuracy(features, labels, k=5, temperature=1e-5) == plain, "only the nearest counts"


def test_a_class_that_nobody_votes_for_is_never_right():
    assert knn_accuracy([[1.0], [1.0]], ["a", "b"], [[1.0], [0.0]], ["c", "c"]) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]], [0], [[1.0]], None), "belong together"),
        (([[1.0]], [0]), "alone"),
        (([[1.0], [2.0]], [0]), "2 train_features but 1 train_labels"),
        (([[1.0]], [0], [[1.0, 2.0]], [0]), "1 wide"),
        (([[1.0], [2.0]], [0, 1], None, None, 0), "k is 0"),
        (([[1.0], [2.0]], [0, 1], None, None, 1, 0.0), "temperature"),
        (([[1.0], [np.nan]], [0, 1]), "not finite"),
    ],
)
def test_what_cannot_be_voted_on_is_said(arguments, message):
    with pytest.raises(InputError, match=message):
        knn_accuracy(*arguments)


def test_leakage():
    assert class_leakage(0.05, 0.9, 0.1) == 0.0
    assert class_leakage(0.95, 0.9, 0.1) == pytest.approx(0.85 / 0.8)
    assert class_leakage(0.5, 0.9, 0.1) == pytest.approx(0.5)
    assert class_leakage(0.5, 0.1, 0.1) is None
