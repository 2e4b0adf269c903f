"""Shapes and smoothness of the small network."""

import pytest
import torch

from likewise.models.resnet9 import ResNet9


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_have_eight_times_the_width(size, channels):
    network = ResNet9(channels, width=8)
    assert network.num_features == 64
    assert network(torch.rand(2, channels, size, size)).shape == (2, 64)


def test_default_width_and_parameters():
    network = ResNet9()
    assert network.num_features == 256
    convolutions = 3 * 32 + 32 * 64 + 2 * 64 * 64 + 64 * 128 + 128 * 256 + 2 * 256 * 256
    norms = 2 * (32 + 64 + 2 * 64 + 128 + 256 + 2 * 256)
    assert sum(parameter.numel() for parameter in network.parameters()) == 9 * convolutions + norms


def test_every_parameter_learns():
    network = ResNet9(1, width=8)
    network(torch.rand(4, 1, 28, 28)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_an_image_is_embedded_alike_alone_and_in_a_batch():
    network = ResNet9(3, width=8).eval()
    images = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-5)
