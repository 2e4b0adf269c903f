"""The momentum encoder follows its formula, takes no gradient and is a module of its own."""

import pytest
import torch
from torch import nn

from likewise.models.momentum import MomentumEncoder


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 1.0])
def test_update_is_the_formula(momentum):
    network = _network()
    encoder = MomentumEncoder(network)
    before = [parameter.clone() for parameter in encoder.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    encoder.update(network, momentum)
    for own, old, other in zip(encoder.parameters(), before, network.parameters(), strict=True):
        torch.testing.assert_close(own, momentum * old + (1 - momentum) * other)


def test_nothing_is_shared_with_the_network():
    network = _network()
    encoder = MomentumEncoder(network)
    before = encoder(torch.ones(5, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(encoder(torch.ones(5, 3)), before)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_takes_no_gradient():
    network = _network()
    encoder = MomentumEncoder(network)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(torch.ones(5, 3, requires_grad=True)).requires_grad


def test_network_keeps_its_gradients_through_an_update():
    network = _network()
    encoder = MomentumEncoder(network)
    network(torch.randn(5, 3)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    encoder.update(network, 0.5)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))


def test_statistics_of_batch_norm_are_its_own():
    network = _network()
    encoder = MomentumEncoder(network)
    network(torch.randn(5, 3) + 10)
    encoder.update(network, 0.0)
    assert torch.equal(encoder.module[1].running_mean, torch.zeros(4))


def test_network_without_weights():
    encoder = MomentumEncoder(nn.Identity())
    encoder.update(nn.Identity(), 0.9)
    assert torch.equal(encoder(torch.ones(2)), torch.ones(2))


def test_running_statistics_follow_where_that_is_asked_for():
    source, average = nn.BatchNorm1d(2), MomentumEncoder(nn.BatchNorm1d(2))
    source.running_mean.fill_(1.0)
    average.update(source, 0.75)
    assert average.module.running_mean.tolist() == [0, 0]
    average.update(source, 0.75, buffers=True)
    assert average.module.running_mean.tolist() == [0.25, 0.25]
    assert average.module.num_batches_tracked.item() == 0
