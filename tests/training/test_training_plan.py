"""The learning rate of every step, and what the optimiser decays."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from likewise.config import TrainingConfig
from likewise.training.plan import Plan, build_optimizer


def test_warm_up_rises_in_a_line() -> None:
    plan = Plan(peak=0.4, warmup_steps=4, total_steps=100)
    assert [plan.rate(step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_cosine_falls_to_nothing() -> None:
    plan = Plan(peak=0.4, warmup_steps=10, total_steps=110)
    rates = [plan.rate(step) for step in range(10, 111)]
    assert all(one > other for one, other in pairwise(rates))
    assert rates[0] == 0.4
    assert rates[25] == pytest.approx(0.4 * (2 + 2**0.5) / 4)
    assert rates[50] == pytest.approx(0.2)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert plan.rate(1000) == pytest.approx(0, abs=1e-12)


def test_without_a_total_the_rate_stays() -> None:
    plan = Plan(peak=0.4, warmup_steps=2, total_steps=None)
    assert [plan.rate(step) for step in (0, 1, 2, 10**6)] == [0.2, 0.4, 0.4, 0.4]


@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_learn_in_every_step(total: int) -> None:
    plan = Plan.of(TrainingConfig(steps=total, batch_size=256))
    assert all(plan.rate(step) > 0 for step in range(total))


def test_without_a_warm_up() -> None:
    plan = Plan(peak=0.4, warmup_steps=0, total_steps=10)
    assert plan.rate(0) == 0.4
    assert plan.rate(10) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("batch", "optimizer", "peak"), [(256, "sgd", 0.2), (64, "sgd", 0.05), (1024, "sgd", 0.8), (64, "adamw", 0.2)]
)
def test_the_rate_of_sgd_scales_with_the_batch(batch: int, optimizer: str, peak: float) -> None:
    plan = Plan.of(TrainingConfig.model_validate({"batch_size": batch, "optimizer": optimizer, "learning_rate": 0.2}))
    assert plan.peak == pytest.approx(peak)


@pytest.mark.parametrize(("steps", "warmup"), [(None, 50), (1000, 50), (500, 50), (499, 49), (100, 10), (5, 1)])
def test_a_warm_up_is_a_tenth_of_a_run_at_most(steps: int | None, warmup: int) -> None:
    assert Plan.of(TrainingConfig(steps=steps, batch_size=256)).warmup_steps == warmup


def module() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2))
    network.add_module("frozen", nn.Linear(2, 2).requires_grad_(False))
    return network


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_and_norms_do_not_decay(optimizer: str) -> None:
    network = module()
    training = TrainingConfig.model_validate({"optimizer": optimizer, "weight_decay": 0.1})
    groups = build_optimizer(network, training).param_groups
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in groups}
    assert decayed == {
        0.1: {"0.weight", "3.weight"},
        0.0: {"0.bias", "1.weight", "1.bias", "3.bias", "4.weight", "4.bias"},
    }


def test_optimisers() -> None:
    sgd = build_optimizer(module(), TrainingConfig(momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert all((group["momentum"], group["nesterov"]) == (0.8, True) for group in sgd.param_groups)
    # Nesterov's correction without momentum is an error in torch
    plain = build_optimizer(module(), TrainingConfig(momentum=0))
    assert not any(group["nesterov"] for group in plain.param_groups)
    plain = build_optimizer(module(), TrainingConfig(nesterov=False))
    assert not any(group["nesterov"] for group in plain.param_groups)
    adamw = build_optimizer(module(), TrainingConfig(optimizer="adamw", learning_rate=0.01))
    assert isinstance(adamw, torch.optim.AdamW)
    assert all(group["lr"] == 0.01 for group in adamw.param_groups)
    lars = build_optimizer(module(), TrainingConfig(optimizer="lars", learning_rate=0.3))
    assert [type(lars).__name__, *{group["lr"] for group in lars.param_groups}] == ["Lars", 0.3]


@pytest.mark.parametrize("decay", [0.0, 1e-6])
def test_lars_adapts_weights_with_and_without_decay(decay: float) -> None:
    network, rate, scale = nn.Linear(2, 2), 1.0, 1000.0
    before = network.weight.detach().clone(), network.bias.detach().clone()
    lars = build_optimizer(network, TrainingConfig(optimizer="lars", learning_rate=rate, weight_decay=decay))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, scale)
    lars.step()
    # a step of a thousandth of the weights' own length, however long the gradient is; biases take it as it is
    length = (network.weight.detach() - before[0]).norm() / before[0].norm()
    assert length.item() == pytest.approx(0.001, rel=0.01)
    torch.testing.assert_close(network.bias.detach(), before[1] - rate * scale)


def test_progress_is_the_same_when_a_timed_run_is_trained_again() -> None:
    plan = Plan(peak=0.1, warmup_steps=5, total_steps=None)
    before = [plan.progress(step) for step in range(41)]
    plan.hold_steps, plan.total_steps = 40, 200  # as a budget in minutes decides
    assert before[:40] == [plan.progress(step) for step in range(40)]
    assert [plan.progress(step) for step in (40, 100, 200, 300)] == [0.2, 0.5, 1.0, 1.0]
