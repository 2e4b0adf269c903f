"""Sinkhorn against plain multiplication and division, its marginals, invariances and extreme scores."""

import math

import pytest
import torch

from likewise.objectives import sinkhorn


def _scores(generator, batch=12, clusters=4, dtype=torch.float64):
    return torch.rand(batch, clusters, generator=generator, dtype=dtype) * 2 - 1


def _naive(scores, epsilon, iterations):
    plan = [[math.exp(value / epsilon) for value in row] for row in scores.tolist()]
    batch, clusters = len(plan), len(plan[0])
    for _ in range(iterations):
        for k in range(clusters):
            total = sum(row[k] for row in plan)
            for row in plan:
                row[k] /= total * clusters
        for row in plan:
            total = sum(row)
            row[:] = [value / (total * batch) for value in row]
    return torch.tensor(plan, dtype=torch.float64) * batch


@pytest.mark.parametrize("shape", [(1, 5), (12, 4), (3, 8)])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_is_the_loop(generator, shape, epsilon, iterations):
    scores = _scores(generator, *shape)
    expected = _naive(scores, epsilon, iterations)
    torch.testing.assert_close(sinkhorn(scores, epsilon, iterations), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(64, 10), (1, 3), (4, 9), (5, 1)], ids=str)
def test_rows_are_distributions(generator, shape):
    targets = sinkhorn(_scores(generator, *shape, dtype=torch.float32), epsilon=0.05)
    assert targets.min() >= 0
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(shape[0]), rtol=0, atol=1e-6)


def test_clusters_come_to_be_used_equally(generator):
    scores = _scores(generator, 60, 6)
    distances = [(sinkhorn(scores, 0.2, count).sum(dim=0) - 10).abs().max().item() for count in (1, 3, 10, 100)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("spread", [1.0, 30.0, 1e3])
def test_is_the_same_on_logarithms(generator, iterations, spread):
    scores = _scores(generator, 40, 6) * spread
    log_plan = scores / 0.05
    for _ in range(iterations):
        log_plan = log_plan - log_plan.logsumexp(dim=0) - math.log(6)
        log_plan = log_plan - log_plan.logsumexp(dim=1, keepdim=True) - math.log(40)
    expected = (log_plan + math.log(40)).exp()
    torch.testing.assert_close(sinkhorn(scores, 0.05, iterations), expected, rtol=1e-8, atol=1e-10)
    # differences of logarithms up to 2e4 x 20 are known to 0.03 in float32
    rough = {1.0: 1e-4, 30.0: 1e-3, 1e3: 0.1}[spread]
    torch.testing.assert_close(sinkhorn(scores.float(), 0.05, iterations).double(), expected, rtol=0, atol=rough)


def test_leaves_the_scores_alone(generator):
    scores = _scores(generator)
    before = scores.clone()
    sinkhorn(scores, 1.0, 7)
    assert torch.equal(scores, before)


def test_large_epsilon_is_uniform_and_small_epsilon_hard(generator):
    scores = _scores(generator, 20, 4)
    torch.testing.assert_close(sinkhorn(scores, 1e6), torch.full_like(scores, 0.25), rtol=0, atol=1e-5)
    assert sinkhorn(scores, 1e-3, 200).max(dim=1).values.median() > 0.99


def test_image_that_prefers_a_full_cluster_gets_another():
    scores = torch.tensor([[0.9, 0.8], [0.8, 0.1]])
    # with two images and two clusters the balanced plan is [[a, 1 - a], [1 - a, a]], and the scores give a / (1 - a)
    odds = math.exp((0.9 + 0.1 - 0.8 - 0.8) / 0.05 / 2)
    a = odds / (1 + odds)
    torch.testing.assert_close(sinkhorn(scores, 0.05, 2000), torch.tensor([[a, 1 - a], [1 - a, a]]), rtol=0, atol=1e-4)
    assert sinkhorn(scores, 0.05).argmax(dim=1).tolist() == [1, 0]


EXTREME = {
    "large": 1e4 * torch.tensor([[1.0, -1.0, 0.3], [-1.0, 1.0, 0.1], [0.2, 0.9, -1.0], [1.0, 1.0, 1.0]]),
    "all large and equal": torch.full((4, 3), 1e4),
    "all small and equal": torch.full((4, 3), -1e4),
    "one huge": torch.zeros(4, 3).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(1e4)),
    "one tiny": torch.zeros(4, 3).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(-1e4)),
    "all prefer one": torch.tensor([[1e4, 0.0, 0.0]]).repeat(4, 1),
}


@pytest.mark.parametrize("scores", EXTREME.values(), ids=EXTREME)
def test_extreme_scores_give_distributions(scores):
    targets = sinkhorn(scores, epsilon=0.05)
    assert targets.dtype == torch.float32
    assert targets.isfinite().all()
    assert targets.min() >= 0
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["all large and equal", "all small and equal", "all prefer one"])
def test_images_that_are_alike_get_the_same_uniform_target(name):
    targets = sinkhorn(EXTREME[name], epsilon=0.05)
    torch.testing.assert_close(targets, torch.full((4, 3), 1 / 3), rtol=0, atol=1e-5)


def test_one_image_is_spread_over_all_clusters(generator):
    targets = sinkhorn(_scores(generator, 1, 5), epsilon=0.05)
    torch.testing.assert_close(targets, torch.full_like(targets, 0.2))


def test_constant_added_to_all_scores_or_to_a_column_changes_nothing(generator):
    scores = _scores(generator)
    targets = sinkhorn(scores, 0.1, 2)
    torch.testing.assert_close(sinkhorn(scores + 3, 0.1, 2), targets, rtol=1e-10, atol=1e-10)
    shifted = scores + torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(shifted, 0.1, 2), targets, rtol=1e-10, atol=1e-10)


def test_constant_added_to_a_row_changes_nothing_in_the_end(generator):
    # columns are scaled first: only the limit does not depend on where a row starts
    scores = _scores(generator)
    shifted = scores + torch.rand(12, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(shifted, 0.2, 300), sinkhorn(scores, 0.2, 300), rtol=1e-8, atol=1e-8)


def test_order_of_images_and_names_of_clusters_change_nothing(generator):
    scores = _scores(generator)
    rows, columns = torch.randperm(12, generator=generator), torch.randperm(4, generator=generator)
    expected = sinkhorn(scores, 0.05)[rows][:, columns]
    torch.testing.assert_close(sinkhorn(scores[rows][:, columns], 0.05), expected, rtol=1e-10, atol=1e-10)


def test_takes_no_gradient(generator):
    assert not sinkhorn(_scores(generator).requires_grad_(), 0.05).requires_grad
