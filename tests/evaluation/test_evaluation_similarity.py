"""Similarities of pairs, and confidence over temperature, against loops."""

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.evaluation import accuracy, similarity, similarity_table, temperature_curve
from likewise.evaluation.similarity import BINS


def _views(count: int = 23) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(count, 5))
    return first, first + rng.normal(size=(count, 5)), rng.integers(3, size=count)


def test_every_pair_is_counted_as_a_loop_counts_it(monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK", 4)
    first, second, labels = _views()
    pairs = {"augmented": [], "same": [], "different": []}
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            kind = "augmented" if i == j else "same" if labels[i] == labels[j] else "different"
            pairs[kind].append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    rows = {row["kind"]: row for row in similarity_table(first, second, labels)}
    assert list(rows) == list(pairs)
    for kind, values in pairs.items():
        row = rows[kind]
        assert row["pairs"] == len(values)
        assert row["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert row["std"] == pytest.approx(np.std(values), abs=1e-6)
        assert len(row["histogram"]) == BINS
        assert sum(row["histogram"]) == pytest.approx(1)
        middles = np.linspace(-1, 1, BINS, endpoint=False) + 1 / BINS
        assert middles @ row["histogram"] == pytest.approx(row["mean"], abs=1 / BINS)


def test_without_labels_all_others_are_one_kind():
    first, second, _ = _views()
    augmented, other = similarity_table(first, second)
    assert (augmented["kind"], augmented["pairs"], other["kind"], other["pairs"]) == ("augmented", 23, "other", 23 * 22)


def test_a_kind_without_a_pair_has_no_row():
    first, second, _ = _views(4)
    assert [row["kind"] for row in similarity_table(first, second, [0, 1, 2, 3])] == ["augmented", "different"]
    assert [row["kind"] for row in similarity_table(first, second, [1] * 4)] == ["augmented", "same"]
    (alone,) = similarity_table(first[:1], first[:1])
    assert (alone["mean"], alone["std"]) == (pytest.approx(1, abs=1e-6), pytest.approx(0, abs=1e-3))


def test_what_cannot_be_compared_is_said():
    with pytest.raises(InputError, match="same images twice"):
        similarity_table([[1.0]], [[1.0], [2.0]])
    with pytest.raises(InputError, match="1 images but 2 labels"):
        similarity_table([[1.0]], [[1.0]], [0, 1])


def test_confidence_over_temperature_is_that_of_a_softmax():
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=300)
    logits = np.eye(4)[(classes + 1) % 4] + rng.normal(0, 0.5, (300, 4))
    temperatures = [0.05, 0.1, 0.5, 2.0]
    rows = temperature_curve(logits, temperatures, classes)
    right = logits.argmax(axis=1) == (classes + 1) % 4
    for temperature, row in zip(temperatures, rows, strict=True):
        chances = np.exp(logits / temperature)
        confidence = (chances / chances.sum(axis=1, keepdims=True)).max(axis=1)
        assert row["mean_confidence"] == pytest.approx(confidence.mean(), rel=1e-5)
        for level in (0.95, 0.99):
            sure = confidence > level
            assert row[f"above_{100 * level:.0f}"] == pytest.approx(sure.mean())
            expected = pytest.approx(right[sure].mean()) if sure.any() else None
            assert row[f"accuracy_{100 * level:.0f}"] == expected
    assert rows[-1]["accuracy_99"] is None
    sharpest = temperature_curve(logits, [1e-6], classes)[0]
    assert sharpest["accuracy_99"] == pytest.approx(accuracy(logits.argmax(axis=1), classes))


def test_more_clusters_than_classes_and_names_for_classes():
    logits = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    (row,) = temperature_curve(logits, [0.01], ["b", "b", "b", "a", "a", "a"])
    assert row["accuracy_99"] == pytest.approx(5 / 6)
    (row,) = temperature_curve(logits, [0.01])
    assert row["accuracy_99"] is None
    with pytest.raises(InputError, match="above 0"):
        temperature_curve(logits, [0.0])
