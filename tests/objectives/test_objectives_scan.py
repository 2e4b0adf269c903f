"""SCAN's terms against loops, closed forms and their derivatives."""

import math

import pytest
import torch

from likewise.objectives import assignment_entropy, neighbor_consistency


def _logits(generator, batch=5, clusters=4):
    return torch.randn(batch, clusters, generator=generator, dtype=torch.float64)


def _softmax(row):
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


@pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
def test_consistency_is_the_loop(generator, shape):
    one, other = _logits(generator, *shape), _logits(generator, *shape)
    total = 0.0
    for first, second in zip(one.tolist(), other.tolist(), strict=True):
        total -= math.log(sum(p * q for p, q in zip(_softmax(first), _softmax(second), strict=True)))
    assert neighbor_consistency(one, other).item() == pytest.approx(total / len(one), rel=1e-10)


@pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
def test_entropy_is_the_loop(generator, shape):
    logits = _logits(generator, *shape)
    rows = [_softmax(row) for row in logits.tolist()]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    expected = -sum(mean * math.log(mean) for mean in means)
    assert assignment_entropy(logits).item() == pytest.approx(expected, rel=1e-10)


def test_gradients(generator):
    one, other = (_logits(generator).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(neighbor_consistency, (one, other))
    assert torch.autograd.gradcheck(assignment_entropy, (one,))


def test_closed_forms(generator):
    uniform, anything = torch.zeros(6, 7), _logits(generator, 6, 7).float()
    assert neighbor_consistency(uniform, anything).item() == pytest.approx(math.log(7), rel=1e-6)
    assert assignment_entropy(uniform).item() == pytest.approx(math.log(7), rel=1e-6)
    sure = 100 * torch.eye(7)
    assert neighbor_consistency(sure, sure).item() == pytest.approx(0, abs=1e-6)
    assert assignment_entropy(sure).item() == pytest.approx(math.log(7), rel=1e-6)
    assert assignment_entropy(sure[:1].repeat(6, 1)).item() == pytest.approx(0, abs=1e-6)


def test_order_of_images_names_of_clusters_and_sides_change_nothing(generator):
    one, other = _logits(generator), _logits(generator)
    rows, columns = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
    expected = neighbor_consistency(one, other)
    torch.testing.assert_close(neighbor_consistency(other, one), expected)
    torch.testing.assert_close(neighbor_consistency(one[rows][:, columns], other[rows][:, columns]), expected)
    torch.testing.assert_close(assignment_entropy(one[rows][:, columns]), assignment_entropy(one))


def test_extreme_logits_are_finite():
    one, other = (torch.tensor(rows, requires_grad=True) for rows in ([[1e4, 0.0]], [[0.0, 1e4]]))
    loss = neighbor_consistency(one, other) - assignment_entropy(one)
    loss.backward()
    assert loss.item() == pytest.approx(1e4, rel=1e-3)
    assert one.grad.isfinite().all()
    assert other.grad.isfinite().all()
