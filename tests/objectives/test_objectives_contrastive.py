"""InfoNCE and NT-Xent against loops in plain Python, closed forms, derivatives and the identities of CDC."""

import math

import pytest
import torch
from torch.nn import functional

from likewise.objectives import batch_info_nce, contrastive, info_nce, nt_xent

EXACT = {"rtol": 1e-10, "atol": 1e-10}
temperatures = pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])


def _unit(generator: torch.Generator, count: int, size: int) -> torch.Tensor:
    noise = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return functional.normalize(noise, dim=1)


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _naive_info_nce(queries, keys, negatives, temperature):
    queries, keys, negatives = queries.tolist(), keys.tolist(), negatives.tolist()
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp(_dot(query, key) / temperature)
        others = sum(math.exp(_dot(query, negative) / temperature) for negative in negatives)
        total -= math.log(positive / (positive + others))
    return total / len(queries)


def _naive_nt_xent(first, second, temperature):
    views = first.tolist() + second.tolist()
    batch, total = len(first), 0.0
    for i, query in enumerate(views):
        twin = (i + batch) % (2 * batch)
        others = sum(math.exp(_dot(query, view) / temperature) for j, view in enumerate(views) if j != i)
        total -= math.log(math.exp(_dot(query, views[twin]) / temperature) / others)
    return total / (2 * batch)


@temperatures
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 9, 7), (8, 0, 4), (3, 20, 2)])
def test_info_nce_is_the_loop(generator, shape, temperature):
    batch, count, size = shape
    queries, keys, negatives = (_unit(generator, rows, size) for rows in (batch, batch, count))
    loss = info_nce(queries, keys, negatives, temperature)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(_naive_info_nce(queries, keys, negatives, temperature), rel=1e-10, abs=1e-10)


@temperatures
@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (7, 5)])
def test_nt_xent_is_the_loop(generator, shape, temperature):
    first, second = _unit(generator, *shape), _unit(generator, *shape)
    expected = _naive_nt_xent(first, second, temperature)
    assert nt_xent(first, second, temperature).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@temperatures
@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (7, 5)])
def test_batch_info_nce_is_the_loop(generator, shape, temperature):
    queries, keys = _unit(generator, *shape), _unit(generator, *shape)
    rows = range(len(queries))
    others = [torch.stack([keys[j] for j in rows if j != i]) if len(keys) > 1 else keys[:0] for i in rows]
    one = slice(None, 1)
    losses = [
        _naive_info_nce(queries[i:][one], keys[i:][one], negatives, temperature)
        for i, negatives in zip(rows, others, strict=True)
    ]
    loss = batch_info_nce(queries, keys, temperature).item()
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-10, abs=1e-10)


def test_info_nce_where_nothing_is_told_apart():
    same = torch.full((6, 4), 0.5, dtype=torch.float64)
    assert info_nce(same, same, same[:5], 0.2).item() == pytest.approx(math.log(6))


def test_nt_xent_where_nothing_is_told_apart():
    same = torch.full((6, 4), 0.5, dtype=torch.float64)
    assert nt_xent(same, same, 0.2).item() == pytest.approx(math.log(11))


def test_info_nce_of_orthogonal_images():
    eye = torch.eye(8, dtype=torch.float64)
    loss = info_nce(eye[:3], eye[:3], eye[3:], temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + 5 * math.exp(-2)))


def test_nt_xent_of_orthogonal_images():
    eye = torch.eye(4, dtype=torch.float64)
    assert nt_xent(eye, eye, temperature=0.5).item() == pytest.approx(math.log(1 + 6 * math.exp(-2)))


def test_smallest_batches_without_negatives_cost_nothing(generator):
    one, other = _unit(generator, 1, 5), _unit(generator, 1, 5)
    assert nt_xent(one, other, 0.1).item() == 0
    assert info_nce(one, other, one[:0], 0.1).item() == 0


def test_extreme_temperature_stays_finite(generator):
    first, second = _unit(generator, 6, 4).float(), _unit(generator, 6, 4).float()
    expected = _naive_nt_xent(first.double(), second.double(), 0.01)
    assert nt_xent(first, second, 0.01).item() == pytest.approx(expected, rel=1e-4)
    assert nt_xent(first, second, 1e-6).isfinite()
    assert info_nce(first, second, second, 1e-6).isfinite()


def test_gradients_of_info_nce(generator):
    inputs = [_unit(generator, rows, 3).requires_grad_() for rows in (4, 4, 5)]
    assert torch.autograd.gradcheck(lambda *tensors: info_nce(*tensors, 0.3), inputs)


def test_gradients_of_nt_xent(generator):
    inputs = [_unit(generator, 4, 3).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *tensors: nt_xent(*tensors, 0.3), inputs)


@pytest.mark.parametrize("rows", [1, 3, 4, 14])
def test_blocks_change_nothing(generator, rows, monkeypatch):
    first, second = (_unit(generator, 7, 5).requires_grad_() for _ in range(2))
    nt_xent(first, second, 0.2).backward()
    expected = first.grad.clone(), second.grad.clone()
    first.grad = second.grad = None
    monkeypatch.setattr(contrastive, "ROWS", rows)
    loss = nt_xent(first, second, 0.2)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(_naive_nt_xent(first, second, 0.2), rel=1e-10)
    for part, exact in zip((first, second), expected, strict=True):
        torch.testing.assert_close(part.grad, 3 * exact, **EXACT)


def test_gradient_where_twins_have_nearly_all_the_weight(generator):
    first = _unit(generator, 16, 32)
    pair = [(first + 1e-3 * torch.randn(16, 32, generator=generator)).requires_grad_() for _ in range(2)]
    nt_xent(*pair, 0.1).backward()
    rough = [part.detach().float().requires_grad_() for part in pair]
    nt_xent(*rough, 0.1).backward()
    for part, exact in zip(rough, pair, strict=True):
        error = (part.grad.double() - exact.grad).norm() / exact.grad.norm()
        assert error < 1e-2


def test_order_of_images_and_of_queue_changes_nothing(generator):
    queries, keys, negatives = (_unit(generator, rows, 6) for rows in (5, 5, 11))
    rows, places = torch.randperm(5, generator=generator), torch.randperm(11, generator=generator)
    loss = info_nce(queries, keys, negatives, 0.2)
    torch.testing.assert_close(info_nce(queries[rows], keys[rows], negatives, 0.2), loss, **EXACT)
    torch.testing.assert_close(info_nce(queries, keys, negatives[places], 0.2), loss, **EXACT)


def test_nt_xent_is_the_same_for_swapped_views_and_another_order(generator):
    first, second = _unit(generator, 7, 4), _unit(generator, 7, 4)
    rows = torch.randperm(7, generator=generator)
    loss = nt_xent(first, second, 0.2)
    torch.testing.assert_close(nt_xent(second, first, 0.2), loss, **EXACT)
    torch.testing.assert_close(nt_xent(first[rows], second[rows], 0.2), loss, **EXACT)


def test_nt_xent_is_info_nce_of_every_view(generator):
    first, second = _unit(generator, 4, 6), _unit(generator, 4, 6)
    views = torch.cat([first, second])
    losses = []
    for i in range(8):
        twin = (i + 4) % 8
        others = [j for j in range(8) if j not in (i, twin)]
        losses.append(info_nce(views[i : i + 1], views[twin : twin + 1], views[others], 0.2))
    torch.testing.assert_close(nt_xent(first, second, 0.2), torch.stack(losses).mean(), **EXACT)


class TestJointOutput:
    """What the loss on [z_c ; z_n] amounts to for the instance part alone (arXiv 2306.05439, Eq. 3 and 8)."""

    temperature = 0.2
    batch, count, num_clusters = 6, 13, 4

    def _categories(self, generator):
        return (_unit(generator, rows, self.num_clusters) for rows in (self.batch, self.batch, self.count))

    def test_category_weighs_the_negatives(self, generator):
        z_c, k_c, m_c = self._categories(generator)
        z_n, k_n, m_n = (_unit(generator, rows, 9) for rows in (self.batch, self.batch, self.count))
        joint = [torch.cat(parts, dim=1) for parts in ((z_c, z_n), (k_c, k_n), (m_c, m_n))]
        total = 0.0
        for i in range(self.batch):
            own = math.exp(z_n[i].dot(k_n[i]) / self.temperature)
            negatives = 0.0
            for j in range(self.count):
                weight = math.exp((z_c[i].dot(m_c[j]) - z_c[i].dot(k_c[i])) / self.temperature)
                negatives += weight * math.exp(z_n[i].dot(m_n[j]) / self.temperature)
            total -= math.log(own / (own + negatives))
        loss = info_nce(*joint, self.temperature)
        assert loss.item() == pytest.approx(total / self.batch, rel=1e-10)

    def test_gradient_of_an_instance_similarity(self, generator):
        z_c, k_c, m_c = self._categories(generator)
        # the instance parts of the negatives and of the keys are unit axes, so that z_n holds the similarities
        axes = torch.eye(self.count + 1, dtype=torch.float64)
        n = torch.randn(self.batch, self.count + 1, generator=generator, dtype=torch.float64).requires_grad_()
        own_axis = axes[-1:].expand(self.batch, -1)
        joint = [torch.cat(parts, dim=1) for parts in ((z_c, n), (k_c, own_axis), (m_c, axes[:-1]))]
        info_nce(*joint, self.temperature).backward()

        t1, n_ij, n_ii = self.temperature, n.detach()[:, :-1], n.detach()[:, -1:]
        w_ij = ((z_c @ m_c.T - (z_c * k_c).sum(dim=1, keepdim=True)) / t1).exp()
        weighted = w_ij * (n_ij / t1).exp()
        denominator = (n_ii / t1).exp() + weighted.sum(dim=1, keepdim=True)
        expected = weighted / (t1 * denominator) / self.batch
        torch.testing.assert_close(n.grad[:, :-1], expected, **EXACT)
