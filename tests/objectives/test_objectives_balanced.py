"""Class-balanced cross-entropy against a loop, closed forms and its derivative."""

import math

import pytest
import torch
from torch.nn import functional

from likewise.objectives import balanced_cross_entropy


def _case(generator, batch=12, clusters=4):
    logits = torch.randn(batch, clusters, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, clusters, (batch,), generator=generator)
    return logits, labels, torch.rand(batch, generator=generator) < 0.6


def _naive(logits, labels, chosen):
    losses: dict[int, list[float]] = {}
    for row, label, counts in zip(logits.tolist(), labels.tolist(), chosen.tolist(), strict=True):
        if counts:
            normaliser = sum(math.exp(value) for value in row)
            losses.setdefault(label, []).append(-math.log(math.exp(row[label]) / normaliser))
    means = [sum(each) / len(each) for each in losses.values()]
    return sum(means) / len(means) if means else 0.0


@pytest.mark.parametrize("shape", [(1, 2), (12, 4), (40, 3), (5, 9)])
def test_is_the_loop(generator, shape):
    case = _case(generator, *shape)
    assert balanced_cross_entropy(*case).item() == pytest.approx(_naive(*case), rel=1e-10)


def test_is_the_weighted_loss_of_torch(generator):
    logits, labels, chosen = _case(generator, 60)
    weights = 1 / torch.bincount(labels[chosen], minlength=4).double()
    expected = functional.cross_entropy(logits[chosen], labels[chosen], weight=weights)
    torch.testing.assert_close(balanced_cross_entropy(logits, labels, chosen), expected, rtol=1e-10, atol=1e-10)


def test_gradient(generator):
    logits, labels, chosen = _case(generator)
    assert torch.autograd.gradcheck(lambda x: balanced_cross_entropy(x, labels, chosen), logits.requires_grad_())


def test_images_that_are_not_chosen_get_no_gradient(generator):
    logits, labels, chosen = _case(generator)
    balanced_cross_entropy(logits.requires_grad_(), labels, chosen).backward()
    assert logits.grad[~chosen].abs().sum() == 0
    assert (logits.grad[chosen].abs().sum(dim=1) > 0).all()


def test_every_cluster_pulls_as_strongly(generator):
    logits = torch.zeros(10, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0] * 9 + [1])
    balanced_cross_entropy(logits, labels, torch.ones(10, dtype=torch.bool)).backward()
    assert logits.grad[:9].abs().sum().item() == pytest.approx(logits.grad[9].abs().sum().item())


def test_nothing_chosen_costs_nothing_and_still_goes_back(generator):
    logits, labels, chosen = _case(generator)
    loss = balanced_cross_entropy(logits.requires_grad_(), labels, torch.zeros_like(chosen))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_uniform_predictions_cost_the_logarithm_of_k(generator):
    _, labels, chosen = _case(generator, clusters=7)
    loss = balanced_cross_entropy(torch.zeros(12, 7), labels, chosen)
    assert loss.item() == pytest.approx(math.log(7))


def test_logarithms_of_probabilities_are_logits(generator):
    logits, labels, chosen = _case(generator)
    expected = balanced_cross_entropy(logits, labels, chosen)
    torch.testing.assert_close(balanced_cross_entropy(logits.softmax(dim=1).log(), labels, chosen), expected)


def test_order_and_names_change_nothing(generator):
    logits, labels, chosen = _case(generator)
    rows, names = torch.randperm(12, generator=generator), torch.randperm(4, generator=generator)
    renamed = torch.empty_like(logits)
    renamed[:, names] = logits
    other = balanced_cross_entropy(renamed[rows], names[labels][rows], chosen[rows])
    torch.testing.assert_close(other, balanced_cross_entropy(logits, labels, chosen), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(generator, dtype):
    logits, labels, chosen = _case(generator)
    assert balanced_cross_entropy(logits.to(dtype), labels, chosen).dtype == torch.float32
