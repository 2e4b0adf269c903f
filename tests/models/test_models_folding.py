"""Batch norms as a part of the convolutions before them: the same features, in a copy."""

import pytest
import torch
from torch import nn

from likewise.models import build_backbone
from likewise.models.folding import folded


def settled(network: nn.Module, size: int = 32) -> nn.Module:
    """In evaluation mode, with statistics that are not the ones of the start."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 2)
            nn.init.normal_(module.bias)
    network.train()(torch.rand(16, 3, size, size))
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet9", 3), ("resnet10t", 0), ("efficientnet_lite0", 0), ("densenet121", 62), ("vit_tiny_patch16_224", 0)],
)
def test_features_are_the_same(name, left):
    network = settled(build_backbone(name, size=32), 32)
    images = torch.rand(4, 3, 32, 32)
    copy = folded(network, images[:2])
    # batch norm behind pooling (resnet9) or behind a concatenation (densenet) has no convolution of its own
    assert norms(copy) == left
    with torch.inference_mode():
        expected = network(images)
        torch.testing.assert_close(copy(images), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_the_network_itself_is_left_alone():
    network = settled(build_backbone("resnet10t", size=32))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.rand(2, 3, 32, 32)
    folded(network, images)
    after = network.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks for module in network.modules())


class Shared(nn.Module):
    """A convolution that two norms read, and a norm that reads two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.first, self.second, self.both = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shared = self.one(images)
        return self.first(shared) + self.second(shared) + self.both(self.two(images)) + self.both(self.two(images * 2))


def test_what_is_used_twice_is_not_folded():
    network = settled(Shared())
    images = torch.rand(2, 3, 8, 8)
    copy = folded(network, images)
    assert norms(copy) == 3
    with torch.inference_mode():
        torch.testing.assert_close(copy(images), network(images))


class Reused(nn.Module):
    """What comes out of a convolution is wanted for itself, beside its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result = self.convolution(images)
        return result + self.norm(result)


def test_a_result_that_is_wanted_for_itself_is_not_folded():
    network = settled(Reused())
    images = torch.rand(2, 3, 8, 8)
    assert folded(network, images) is network
