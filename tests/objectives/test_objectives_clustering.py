"""Cross-entropy with soft targets against a loop, closed forms and its derivative."""

import math

import pytest
import torch

from likewise.objectives import target_cross_entropy


def _case(generator, batch=5, clusters=4):
    targets = torch.rand(batch, clusters, generator=generator, dtype=torch.float64).softmax(dim=1)
    logits = torch.randn(batch, clusters, generator=generator, dtype=torch.float64)
    return targets, logits


def _naive(targets, logits, temperature):
    total = 0.0
    for target, row in zip(targets.tolist(), logits.tolist(), strict=True):
        normaliser = sum(math.exp(value / temperature) for value in row)
        total -= sum(
            q * math.log(math.exp(value / temperature) / normaliser) for q, value in zip(target, row, strict=True)
        )
    return total / len(targets)


@pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_is_the_loop(generator, shape, temperature):
    targets, logits = _case(generator, *shape)
    loss = target_cross_entropy(targets, logits, temperature)
    assert loss.item() == pytest.approx(_naive(targets, logits, temperature), rel=1e-10)


def test_uniform_predictions_cost_the_logarithm_of_k(generator):
    targets, logits = _case(generator, clusters=7)
    assert target_cross_entropy(targets, torch.zeros_like(logits), 0.1).item() == pytest.approx(math.log(7))


def test_is_the_entropy_where_predictions_are_the_targets(generator):
    targets, _ = _case(generator)
    entropy = -(targets * targets.log()).sum(dim=1).mean()
    assert target_cross_entropy(targets, 0.3 * targets.log(), 0.3).item() == pytest.approx(entropy.item())


def test_equals_the_hard_loss_for_hard_targets(generator):
    _, logits = _case(generator)
    labels = logits.argmin(dim=1)
    expected = torch.nn.functional.cross_entropy(logits / 0.5, labels)
    targets = torch.nn.functional.one_hot(labels, 4).double()
    torch.testing.assert_close(target_cross_entropy(targets, logits, 0.5), expected, rtol=1e-10, atol=1e-10)


def test_gradient(generator):
    targets, logits = _case(generator)
    inputs = [targets.requires_grad_(), logits.requires_grad_()]
    assert torch.autograd.gradcheck(lambda *tensors: target_cross_entropy(*tensors, 0.3), inputs)


def test_gradient_is_prediction_minus_target(generator):
    targets, logits = _case(generator)
    target_cross_entropy(targets, logits.requires_grad_(), 0.2).backward()
    expected = ((logits.detach() / 0.2).softmax(dim=1) - targets) / (0.2 * len(logits))
    torch.testing.assert_close(logits.grad, expected, rtol=1e-10, atol=1e-10)


def test_order_of_images_and_names_of_clusters_change_nothing(generator):
    targets, logits = _case(generator)
    loss = target_cross_entropy(targets, logits, 0.1)
    rows, columns = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
    renamed = target_cross_entropy(targets[rows][:, columns], logits[rows][:, columns], 0.1)
    torch.testing.assert_close(renamed, loss, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_cost_what_they_say(size):
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    logits = torch.tensor([[size, 0.0], [size, 0.0]])
    # one row is right and costs nothing, the other costs the whole distance
    assert target_cross_entropy(targets, logits, 0.1).item() == pytest.approx(1e5 / 2)
