"""Crop boxes and colour factors follow torchvision's distributions."""

import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import ColorJitter, RandomResizedCrop

from likewise.views.random import Draws, crop_boxes, draw_numbers, jitter_factors

COUNT = 1500
DEVICE = torch.device("cpu")


def _draws(count=COUNT, seed=0):
    return Draws(draw_numbers(torch.Generator().manual_seed(seed), count, DEVICE))


def _properties(top, left, height, width):
    return {"area": height * width, "aspect": width / height, "top": top, "left": left}


@pytest.mark.parametrize(("size", "scale"), [(224, (0.2, 1.0)), (32, (0.08, 1.0)), (96, (0.5, 0.9))])
def test_boxes_are_distributed_as_torchvisions(size, scale):
    torch.manual_seed(1)
    image, ratio = torch.empty(1, size, size), (3 / 4, 4 / 3)
    reference = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(COUNT)])
    expected = _properties(*reference.T)
    found = _properties(*crop_boxes(_draws(), size, size, scale, ratio))
    for name, values in found.items():
        assert ks_2samp(values.numpy(), expected[name].numpy()).pvalue > 1e-3, name


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 50), (1, 1), (3, 90)])
@pytest.mark.parametrize("scale", [(0.01, 1.0), (1.0, 1.0)])
def test_boxes_lie_within_the_image(height, width, scale):
    top, left, tall, wide = crop_boxes(_draws(), height, width, scale, (3 / 4, 4 / 3))
    assert min(top.min(), left.min()) >= 0
    assert min(tall.min(), wide.min()) >= 1
    assert (top + tall).max() <= height
    assert (left + wide).max() <= width


def test_largest_number_below_one_stays_within_the_image():
    class Largest(Draws):
        def uniform(self, low, high, *shape):
            number = super().uniform(low, high, *shape)
            return number if shape else torch.full_like(number, 1 - 2**-24)

    top, left, tall, wide = crop_boxes(
        Largest(draw_numbers(torch.Generator(), COUNT, DEVICE)), 224, 224, (0.01, 1.0), (3 / 4, 4 / 3)
    )
    assert torch.equal(top + tall, torch.full_like(top, 224))
    assert torch.equal(left + wide, torch.full_like(left, 224))


def test_boxes_that_never_fit_become_the_whole_image():
    top, left, tall, wide = crop_boxes(_draws(5), 10, 100, (0.9, 1.0), (1.0, 1.0))
    assert torch.stack([top, left, tall, wide], dim=1).tolist() == [[0, 0, 10, 100]] * 5


def test_factors_are_distributed_as_torchvisions():
    torch.manual_seed(1)
    jitter = ColorJitter(0.4, 1.3, 0.2, 0.1)
    ranges = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    factors = jitter_factors(_draws(), 0.4, 1.3, 0.2, 0.1)
    assert factors.shape == (COUNT, 4)
    for column, (low, high) in zip(factors.T, ranges, strict=True):
        assert kstest(column.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3


def test_no_strength_draws_the_neutral_factors():
    assert jitter_factors(_draws(4), 0.0, 0.0, 0.0, 0.0).tolist() == [[1, 1, 1, 0]] * 4


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_chance(probability):
    share = _draws(20_000).chance(probability).float().mean().item()
    assert share == pytest.approx(probability, abs=0.015 if 0 < probability < 1 else 0)


def test_permutations_are_all_as_likely():
    orders = _draws(24_000).permutation(4)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(24_000, -1))
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 24
    assert (counts / 1000 - 1).abs().max() < 0.15


def test_wrong_types_are_noticed():
    with pytest.raises(TypeCheckError):
        Draws("cpu")
