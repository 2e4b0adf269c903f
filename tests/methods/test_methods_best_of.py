"""Several heads side by side: each learns as if it were alone, and the one with the lowest loss stays."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from likewise.methods import CDC, SCAN, BestOf, CDCConfig, Center, CenterConfig, Method, SCANConfig
from likewise.methods.best_of import NEWEST


def _heads(count: int = 3, frame: str = "in-batch") -> list[Method]:
    torch.manual_seed(0)
    config = CDCConfig(frame=frame, hidden_dim=16, instance_dim=8, queue_size=32)  # type: ignore[arg-type]
    return [CDC(nn.Identity(), 12, 3, config) for _ in range(count)]


def _views(seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(20, 12, generator=generator) for _ in range(2))


def _step(method: Method, optimizer: torch.optim.Optimizer, seed: int) -> dict[str, Tensor]:
    out = method.training_step(_views(seed))
    optimizer.zero_grad()
    out["loss"].backward()
    optimizer.step()
    method.after_step()
    return out


@pytest.mark.parametrize("frame", ["in-batch", "moco-v2", "moco-v3"])
def test_each_head_learns_as_if_it_were_alone(frame: str) -> None:
    heads = _heads(frame=frame)
    alone = deepcopy(heads)
    together = BestOf(heads)
    optimizer = torch.optim.SGD(together.parameters(), lr=0.1, momentum=0.9)
    for seed in range(3):
        _step(together, optimizer, seed)
    for one, head in zip(alone, heads, strict=True):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
        for seed in range(3):
            _step(one, optimizer, seed)
        for name, value in one.state_dict().items():
            torch.testing.assert_close(head.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_the_head_with_the_lowest_loss_is_kept_and_shown() -> None:
    heads = _heads()
    together = BestOf(heads)
    averages = torch.full((3,), torch.nan)
    for seed in range(4):
        expected = [deepcopy(head).training_step(_views(seed)) for head in heads]
        best = int(averages.nan_to_num(nan=torch.inf).argmin())
        out = together.training_step(_views(seed))
        assert out.keys() == expected[best].keys()
        for name, value in expected[best].items():
            torch.testing.assert_close(out[name].detach(), value.detach())
        together.after_step()
        losses = torch.stack([one["loss"].detach() for one in expected])
        weight = 9 / (10 + seed)
        averages = losses if seed == 0 else (1 - weight) * averages + weight * losses
        torch.testing.assert_close(together.losses, averages)
    kept = int(averages.argmin())
    assert together.result() is heads[kept]
    assert together.encoder is heads[kept].encoder
    assert together.inference_state().keys() == heads[kept].inference_state().keys()
    together.eval()
    torch.testing.assert_close(together.assign(_views(9)[0]), heads[kept].assign(_views(9)[0]))


def test_which_head_is_the_best_survives_a_checkpoint() -> None:
    together = BestOf(_heads())
    together.losses.copy_(torch.tensor([3.0, 2.0, 1.0]))
    other = BestOf(_heads())
    assert other.result() is other.methods[0]
    other.load_state_dict(together.state_dict())
    assert other.result() is other.methods[2]


def test_what_belongs_to_the_method_is_passed_on() -> None:
    together = BestOf([SCAN(nn.Identity(), 12, 3, SCANConfig()) for _ in range(2)])
    one = together.methods[0]
    assert (together.views, together.signs) == (one.views, one.signs)
    assert (together.prepares_at, together.concludes, together.has_clusters) == (None, False, True)
    placed_at_the_end = CenterConfig(hidden_dim=16, clustering_weight=0, anchor_weight=0)
    assert BestOf([Center(nn.Identity(), 12, 3, placed_at_the_end)]).concludes
    warming = BestOf([Center(nn.Identity(), 12, 3, CenterConfig(hidden_dim=16, warmup=0.5)) for _ in range(2)])
    assert (warming.prepares_at, warming.has_clusters, len(warming.views)) == (0.5, False, 2)
    warming.prepare(torch.rand(20, 12))
    assert (warming.has_clusters, len(warming.views)) == (True, 3)
    assert together.chance_loss(8) == one.chance_loss(8)  # type: ignore[operator]
    assert together.largest_confidence == 1.0
    assert BestOf(_heads()).largest_confidence < 1
    features = torch.rand(5, 12)
    assert together.parts(features).logits.shape == (5, 3)
    assert together.probabilities(together.assign(features)).sum(dim=1).tolist() == pytest.approx([1.0] * 5)


def test_a_head_that_breaks_takes_no_other_with_it() -> None:
    heads = _heads()
    with torch.no_grad():
        next(heads[0].parameters()).fill_(torch.nan)
    together = BestOf(heads)
    optimizer = torch.optim.SGD(together.parameters(), lr=0.1)
    for seed in range(3):
        assert _step(together, optimizer, seed)["loss"].isfinite()
    assert together.result() is not heads[0]
    assert all(value.isfinite().all() for value in together.result().state_dict().values())


def test_the_leading_head_may_break() -> None:
    together = BestOf(_heads())
    together.losses.copy_(torch.tensor([1.0, 2.0, 3.0]))
    leader = together.methods[0]
    with torch.no_grad():
        next(leader.parameters()).fill_(torch.nan)
    for seed in range(2):
        assert together.training_step(_views(seed))["loss"].isfinite()
        together.after_step()
        assert together.result() is not leader


def test_what_heads_start_with_is_forgotten_and_the_end_is_an_average() -> None:
    together = BestOf(_heads(2))
    losses = [torch.tensor([9.0, 1.0]), *[torch.tensor([1.0, 1.1])] * 49]
    for new in losses:
        together._new_losses = new
        together.after_step()
    assert together.result() is together.methods[0]
    together.steps.fill_(10**6)
    before = together.losses.clone()
    together._new_losses = before + 1
    together.after_step()
    torch.testing.assert_close(together.losses, before + NEWEST)


def test_where_every_head_breaks_the_loss_says_so() -> None:
    heads = _heads()
    with torch.no_grad():
        for head in heads:
            next(head.parameters()).fill_(torch.nan)
    assert BestOf(heads).training_step(_views(0))["loss"].isnan()
