"""Student's t assignments, their targets and the divergence between the two, against loops and closed forms."""

import math

import pytest
import torch

from likewise.objectives import kl_divergence, log_student_t, student_t, target_distribution


def _points(generator, batch=5, clusters=4, size=3):
    draw = {"generator": generator, "dtype": torch.float64}
    return torch.randn(batch, size, **draw), torch.randn(clusters, size, **draw)


def _distributions(generator, batch=5, clusters=4):
    return torch.rand(batch, clusters, generator=generator, dtype=torch.float64).softmax(dim=1)


def _naive_student_t(features, centers, a):
    rows = []
    for h in features.tolist():
        squares = [sum((x - y) ** 2 for x, y in zip(h, mu, strict=True)) for mu in centers.tolist()]
        kernel = [(1 + square / a) ** (-(a + 1) / 2) for square in squares]
        rows.append([value / sum(kernel) for value in kernel])
    return torch.tensor(rows, dtype=torch.float64)


def _naive_targets(r):
    sizes = [sum(row[k] for row in r.tolist()) for k in range(r.shape[1])]
    weights = [[value**2 / size for value, size in zip(row, sizes, strict=True)] for row in r.tolist()]
    return torch.tensor([[value / sum(row) for value in row] for row in weights], dtype=torch.float64)


def _naive_divergence(t, r):
    pairs = [(p, q) for row, other in zip(t.tolist(), r.tolist(), strict=True) for p, q in zip(row, other, strict=True)]
    return sum(p * math.log(p / q) for p, q in pairs if p > 0) / len(t)


class TestStudentT:
    @pytest.mark.parametrize("shape", [(1, 2, 1), (5, 4, 3), (3, 9, 2)])
    @pytest.mark.parametrize("degrees", [0.5, 1.0, 7.0])
    def test_is_the_loop(self, generator, shape, degrees):
        features, centers = _points(generator, *shape)
        expected = _naive_student_t(features, centers, degrees)
        torch.testing.assert_close(student_t(features, centers, degrees), expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(log_student_t(features, centers, degrees), expected.log(), rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("function", [student_t, log_student_t])
    def test_gradient_of_features_and_centers(self, generator, function):
        features, centers = _points(generator)
        assert torch.autograd.gradcheck(
            lambda h, mu: function(h, mu, 2.0), (features.requires_grad_(), centers.requires_grad_())
        )

    def test_gradient_where_a_feature_is_its_center(self, generator):
        features, _ = _points(generator)
        centers = features[:2].clone().requires_grad_()
        student_t(features.requires_grad_(), centers)[:, 0].sum().backward()
        assert features.grad.isfinite().all()
        assert centers.grad.isfinite().all()

    def test_the_nearest_center_is_the_most_probable(self, generator):
        features, centers = _points(generator, 50)
        nearest = torch.cdist(features, centers).argmin(dim=1)
        assert torch.equal(student_t(features, centers).argmax(dim=1), nearest)

    def test_equal_distances_are_a_coin_toss(self):
        found = student_t(torch.zeros(3, 4), torch.eye(4))
        torch.testing.assert_close(found, torch.full((3, 4), 0.25))

    def test_far_away_the_logarithm_stays_finite(self):
        logs = log_student_t(torch.full((2, 8), 1e6), torch.randn(5, 8), degrees=500.0)
        assert logs.isfinite().all()
        torch.testing.assert_close(logs.exp().sum(dim=1), torch.ones(2))

    def test_in_float32_under_autocast(self, generator):
        features, centers = (points.float() * 30 for points in _points(generator, 64, 5, 32))
        expected = student_t(features.double(), centers.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = student_t(features, centers)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
        assert student_t(features.bfloat16(), centers).dtype == torch.float32


class TestTargets:
    @pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
    def test_is_the_loop(self, generator, shape):
        r = _distributions(generator, *shape)
        torch.testing.assert_close(target_distribution(r), _naive_targets(r), rtol=1e-10, atol=1e-12)

    def test_carries_no_gradient(self, generator):
        assert not target_distribution(_distributions(generator).requires_grad_()).requires_grad

    def test_equal_sizes_are_only_sharpened(self, generator):
        r = _distributions(generator, 1)
        rows = torch.cat([r.roll(shift, dims=1) for shift in range(4)])  # all clusters equally large
        torch.testing.assert_close(target_distribution(rows)[:1], r.square() / r.square().sum())

    def test_hard_assignments_are_their_own_targets_also_with_an_empty_cluster(self):
        r = torch.eye(4)[torch.tensor([0, 0, 2, 1])]
        assert torch.equal(target_distribution(r), r)

    def test_names_of_clusters_and_order_of_images_change_nothing(self, generator):
        r = _distributions(generator)
        rows, columns = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
        torch.testing.assert_close(target_distribution(r[rows][:, columns]), target_distribution(r)[rows][:, columns])


class TestDivergence:
    @pytest.mark.parametrize("shape", [(1, 2), (5, 4), (3, 9)])
    def test_is_the_loop(self, generator, shape):
        t, r = _distributions(generator, *shape), _distributions(generator, *shape)
        assert kl_divergence(t, r.log()).item() == pytest.approx(_naive_divergence(t, r), rel=1e-10)

    def test_is_zero_for_itself_and_positive_otherwise(self, generator):
        t, r = _distributions(generator), _distributions(generator)
        assert kl_divergence(t, t.log()).item() == pytest.approx(0, abs=1e-15)
        assert kl_divergence(t, r.log()) > 0

    def test_zeros_are_safe(self):
        t = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
        logs = torch.tensor([[0.0, -1e4], [math.log(0.5)] * 2])
        assert kl_divergence(t, logs).item() == pytest.approx(0, abs=1e-7)

    def test_assignments_too_small_for_a_number_learn(self):
        features, centers = torch.tensor([[40.0]], requires_grad=True), torch.tensor([[0.0], [39.0]])
        logs = log_student_t(features, centers, degrees=60.0)
        assert logs[0, 0].exp() < 1e-40
        loss = kl_divergence(torch.tensor([[1.0, 0.0]]), logs)
        loss.backward()
        exact = _naive_student_t(torch.tensor([[40.0]]).double(), centers.double(), 60.0)[0, 0].log()
        assert loss.item() == pytest.approx(-exact.item(), rel=1e-5)
        assert features.grad.item() > 0.4

    def test_gradient(self, generator):
        t, r = _distributions(generator), _distributions(generator)
        assert torch.autograd.gradcheck(kl_divergence, (t.requires_grad_(), r.log().requires_grad_()))

    def test_half_precision_is_raised(self, generator):
        t, r = _distributions(generator).bfloat16(), _distributions(generator).bfloat16()
        assert kl_divergence(t, r.log()).dtype == torch.float32


def test_the_clustering_loss_moves_features_and_centers(generator):
    features, centers = (points.requires_grad_() for points in _points(generator))
    targets = target_distribution(student_t(features, centers))
    assert torch.autograd.gradcheck(lambda h, mu: kl_divergence(targets, log_student_t(h, mu)), (features, centers))
