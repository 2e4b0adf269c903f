"""Strong views: operations of torchvision that a generator decides, and squares of every size at every place."""

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import kstest

from likewise.views import VIEWS, ViewConfig, Views
from likewise.views.random import Draws, draw_numbers
from likewise.views.strong import NEUTRAL, cut_out, random_operations

STRONG = VIEWS["strong"][0]
STILL = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0, "jitter": 0, "grey": 0}


def _draws(count, seed=0):
    return Draws(draw_numbers(_generator(seed), count, torch.device("cpu")))


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _images(count=6, channels=3, size=16):
    return torch.randint(0, 256, (count, channels, size, size), generator=torch.Generator().manual_seed(5)).byte()


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_depend_on_the_generator_alone_and_leave_the_global_state(channels):
    images, results = _images(channels=channels), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(random_operations(images, _generator(), 3, 9))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)
    assert not torch.equal(results[0], random_operations(images, _generator(1), 3, 9))
    assert results[0].shape == images.shape
    assert results[0].dtype == torch.uint8


def test_operations_move_the_generator_on():
    generator, images = _generator(), _images()
    assert not torch.equal(random_operations(images, generator, 2, 9), random_operations(images, generator, 2, 9))


def test_each_image_goes_through_operations_of_its_own():
    same = _images(1).expand(40, -1, -1, -1)
    assert len(random_operations(same, _generator(), 2, 15).flatten(1).unique(dim=0)) > 20


def test_more_operations_change_more():
    images = _images(100)
    change = [(random_operations(images, _generator(), n, 15).float() - images).abs().mean() for n in (1, 2, 4)]
    assert change == sorted(change)


def test_squares_are_of_every_size_at_every_place():
    views = cut_out(torch.zeros(3000, 1, 50, 50), _draws(3000), 0.4)
    inside = views[:, 0] == NEUTRAL
    assert set(views.unique().tolist()) == {0.0, NEUTRAL}
    tall, wide = inside.any(dim=2).sum(dim=1), inside.any(dim=1).sum(dim=1)
    assert torch.equal(inside.sum(dim=(1, 2)), tall * wide)  # a rectangle
    whole = ~(inside[:, 0].any(1) | inside[:, -1].any(1) | inside[:, :, 0].any(1) | inside[:, :, -1].any(1))
    assert ((tall - wide).abs() <= 1)[whole].all()  # and where nothing sticks out, a square
    assert tall.max() == wide.max() == 20
    centers = inside.any(dim=2).float().argmax(dim=1)[tall == 1] / 50
    assert kstest(centers.numpy(), "uniform", args=(0, 0.98)).pvalue > 1e-3
    size = inside.any(dim=2).sum(dim=1)[whole] / 50
    assert size.mean().item() == pytest.approx(0.17, abs=0.04)  # below 0.2: large ones stick out more often


def test_cutting_is_the_last_thing_that_happens():
    config = ViewConfig(**STILL | {"cutout": 1.0})
    views = Views(config, 16)(torch.zeros(200, 3, 16, 16, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert set(views.unique().tolist()) == {0.0, NEUTRAL}
    assert 0.1 < (views == NEUTRAL).float().mean() < 0.4


def test_without_either_the_draws_of_other_sets_are_as_they_were():
    images = _images(4)
    make = Views(ViewConfig(), 16)
    generator, other = (torch.Generator().manual_seed(0) for _ in range(2))
    make(images, generator)
    Views(ViewConfig(magnitude=30), 16)(images, other)
    assert torch.equal(generator.get_state(), other.get_state())


def test_strong_views_differ_more_from_the_image_than_weak_ones():
    images = _images(60, size=24)
    plain = images / 255
    weak, strong = (
        (Views(config, 24)(images, torch.Generator().manual_seed(0)) - plain).abs().mean()
        for config in (ViewConfig(**STILL | {"crop_scale": (0.9, 1.0)}), ViewConfig(**STILL | {"operations": 4}))
    )
    assert strong > weak


@pytest.mark.parametrize(
    "settings", [{"operations": -1}, {"magnitude": 31}, {"cutout": 1.1}, {"cutout": -0.1}], ids=str
)
def test_settings_of_strong_views_that_are_refused(settings):
    with pytest.raises(ValidationError):
        ViewConfig.model_validate(settings)
