"""Losses and targets are float32 in whatever precision they are called, and shapes are checked."""

import pytest
import torch
from jaxtyping import TypeCheckError

from likewise.objectives import info_nce, nt_xent, sinkhorn, target_cross_entropy

OBJECTIVES = {
    "info_nce": lambda x, y: info_nce(x, y, y.flip(0), 0.1),
    "nt_xent": lambda x, y: nt_xent(x, y, temperature=0.1),
    "sinkhorn": lambda x, y: sinkhorn(scores=x, epsilon=0.05),
    "target_cross_entropy": lambda x, y: target_cross_entropy(x.softmax(dim=1), y, 0.1),
}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


@pytest.fixture
def pair(generator):
    """Two batches of unit vectors [16, 8] in float32."""
    return tuple(torch.nn.functional.normalize(torch.randn(16, 8, generator=generator), dim=1) for _ in range(2))


@every_objective
def test_autocast_around_an_objective_changes_nothing(objective, pair):
    outside = objective(*pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = objective(*pair)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@every_objective
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_to_float32(objective, pair, dtype):
    halves = [tensor.to(dtype) for tensor in pair]
    result = objective(*halves)
    assert result.dtype == torch.float32
    if objective is not OBJECTIVES["target_cross_entropy"]:  # whose softmax in the line above is the caller's
        assert torch.equal(result, objective(*(tensor.float() for tensor in halves)))


@every_objective
def test_float32_agrees_with_float64(objective, pair):
    exact = objective(*(tensor.double() for tensor in pair))
    assert exact.dtype == torch.float64
    torch.testing.assert_close(objective(*pair).double(), exact, rtol=1e-5, atol=1e-5)


def test_gradient_comes_back_in_the_precision_of_the_input(pair):
    first, second = (tensor.bfloat16().requires_grad_() for tensor in pair)
    nt_xent(first, second, 0.1).backward()
    assert first.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "call",
    [
        lambda: info_nce(torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(2, 3), 0.1),
        lambda: info_nce(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(2, 4), 0.1),
        lambda: nt_xent(torch.zeros(4, 3), torch.zeros(4, 2), 0.1),
        lambda: sinkhorn(torch.zeros(4), 0.1),
        lambda: sinkhorn(torch.zeros(4, 2, dtype=torch.long), 0.1),
        lambda: target_cross_entropy(torch.zeros(4, 3), torch.zeros(1, 3), 0.1),
    ],
)
def test_wrong_shapes_and_types_are_noticed(call):
    with pytest.raises(TypeCheckError):
        call()
