"""Views as a whole: what is drawn, in which precision and layout, and against torchvision's pipeline."""

import pytest
import torch
from jaxtyping import TypeCheckError
from pydantic import ValidationError
from scipy.stats import ks_2samp
from torch.nn import functional
from torchvision.transforms import v2

from likewise.views import VIEWS, ViewConfig, Views, plain_view

STILL = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0, "jitter": 0, "grey": 0}


def _smooth(count, channels=3, size=32):
    """Random smooth images, uint8: noise of 6x6 px enlarged, with colours that go together as in photographs."""
    generator = torch.Generator().manual_seed(11)
    light = torch.rand(count, 1, 6, 6, generator=generator)
    color = torch.rand(count, channels, 6, 6, generator=generator)
    tint = torch.rand(count, channels, 1, 1, generator=generator)
    mixed = 0.5 * light + 0.25 * color + 0.25 * tint
    large = functional.interpolate(mixed, size=(size, size), mode="bicubic", align_corners=False)
    return (large.clamp(0, 1) * 255).round().to(torch.uint8)


def _make(config, images, seed=0, size=24, dtype=torch.float32):
    return Views(config, size, dtype)(images, torch.Generator().manual_seed(seed))


every_set = pytest.mark.parametrize("config", [config for config, _ in VIEWS.values()], ids=VIEWS)


@every_set
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_form_of_a_view(config, channels, dtype):
    views = _make(config, _smooth(8, channels), dtype=dtype)
    assert views.shape == (8, channels, 24, 24)
    assert views.dtype == dtype
    assert views.min() >= 0
    assert views.max() <= 1
    assert views.is_contiguous(memory_format=torch.channels_last)


@every_set
def test_generator_decides_everything(config):
    images = _smooth(8)
    torch.manual_seed(1)
    first = _make(config, images)
    torch.manual_seed(2)
    assert torch.equal(_make(config, images), first)
    assert not torch.equal(_make(config, images, seed=3), first)


def test_second_view_of_a_generator_is_another():
    images, generator = _smooth(8), torch.Generator().manual_seed(0)
    make = Views(ViewConfig(), 24)
    assert not torch.equal(make(images, generator), make(images, generator))


@every_set
def test_each_image_draws_its_own(config):
    views = _make(config, _smooth(1).expand(16, -1, -1, -1))
    distances = torch.cdist(views.flatten(1), views.flatten(1)) + torch.eye(16)
    assert distances.min() > 0.1


@every_set
def test_grey_images_are_three_equal_channels(config):
    grey = _smooth(64, channels=1)
    views = _make(config, grey)
    colored = _make(config, grey.expand(-1, 3, -1, -1))
    difference = (colored - views).abs()
    # torchvision rounds the grey of three channels to eight bits, and later operations may enlarge that
    assert difference.mean() < 2 / 255 if config.operations else difference.max() < 1e-5


@every_set
def test_bfloat16_is_as_good_as_eight_bits(config):
    images = _smooth(64)
    difference = _make(config, images) - _make(config, images, dtype=torch.bfloat16).float()
    assert difference.abs().mean() < 2 / 255


def test_images_are_not_changed():
    images = _smooth(4)
    before = images.clone()
    _make(ViewConfig(), images)
    assert torch.equal(images, before)


def test_nothing_drawn_is_the_plain_view():
    images = _smooth(4)
    torch.testing.assert_close(_make(ViewConfig(**STILL), images, size=32), plain_view(images), rtol=0, atol=1e-5)


def test_plain_view_is_exact():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    plain = plain_view(images)
    assert torch.equal(plain, images / 255)
    assert plain.is_contiguous(memory_format=torch.channels_last)
    assert plain_view(images, torch.bfloat16).dtype == torch.bfloat16


def test_flip_only():
    images = _smooth(64)
    views, plain = _make(ViewConfig(**STILL | {"flip": 0.5}), images, size=32), plain_view(images)
    flipped = (views - plain.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    kept = (views - plain).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (flipped ^ kept).all()
    assert 16 <= flipped.sum() <= 48


def test_grey_only():
    images = _smooth(8)
    views = _make(ViewConfig(**STILL | {"grey": 1}), images, size=32)
    expected = v2.functional.rgb_to_grayscale(plain_view(images), num_output_channels=3)
    torch.testing.assert_close(views, expected, rtol=0, atol=2e-4)


def test_blur_smooths_and_scales_with_the_size():
    images = torch.randint(0, 256, (8, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    config = ViewConfig(**STILL | {"blur": 1, "blur_sigma": (3.5, 3.5)})
    blurred = _make(config, images, size=64)  # a standard deviation of one pixel: 3.5 * 64 / 224
    expected = v2.functional.gaussian_blur(plain_view(images), kernel_size=[9, 9], sigma=[1.0, 1.0])
    torch.testing.assert_close(blurred[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5], rtol=0, atol=1e-3)


def test_images_that_are_not_square():
    views = _make(ViewConfig(), _smooth(4)[..., :20])
    assert views.shape == (4, 3, 24, 24)


def _statistics(views):
    """Numbers of each image whose distributions are compared: means, contrasts, saturation, and detail."""
    spread = views.amax(dim=1) - views.amin(dim=1)
    saturation = (spread / views.amax(dim=1).clamp(min=1e-6)).mean(dim=(1, 2))
    means = dict(zip(["red", "green", "blue"], views.mean(dim=(2, 3)).T, strict=True))
    detail = (views[..., 1:] - views[..., :-1]).abs().mean(dim=(1, 2, 3))
    return means | {"contrast": views.std(dim=(1, 2, 3)), "saturation": saturation, "detail": detail}


@pytest.mark.parametrize(
    ("count", "side", "size", "dtype"),
    [
        (400, 32, 24, torch.float32),
        (400, 32, 24, torch.bfloat16),
        (300, 96, 96, torch.bfloat16),
        (120, 256, 224, torch.bfloat16),
    ],
)
def test_views_are_distributed_as_torchvisions(count, side, size, dtype):
    images, config = _smooth(count, size=side), ViewConfig()
    jitter = v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    reference = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=config.crop_scale, ratio=config.crop_ratio, antialias=True),
            v2.RandomHorizontalFlip(config.flip),
            v2.RandomApply([jitter], p=config.jitter),
            v2.RandomGrayscale(config.grey),
        ]
    )
    torch.manual_seed(0)
    expected = _statistics(torch.stack([reference(image / 255) for image in images for _ in range(2)]))
    views = _make(config, images.repeat_interleave(2, dim=0), size=size, dtype=dtype)
    found = _statistics(views.float())
    distances = {name: ks_2samp(found[name].numpy(), expected[name].numpy()).statistic for name in expected}
    assert max(distances.values()) < 1.6 / count**0.5, distances  # of two samples of 2 * count views


@pytest.mark.parametrize(
    "settings",
    [{"blurr": 0.5}, {"flip": -0.1}, {"grey": 1.1}, {"hue": 0.6}, {"brightness": -1}, {"contrast": float("inf")}],
    ids=str,
)
def test_settings_that_are_refused(settings):
    with pytest.raises(ValidationError):
        ViewConfig.model_validate(settings)


def test_every_setting_and_set_is_explained():
    assert all(field.description for field in ViewConfig.model_fields.values())
    assert all(text for _, text in VIEWS.values())


@pytest.mark.parametrize("images", [torch.rand(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_other_images_are_noticed(images):
    with pytest.raises(TypeCheckError):
        _make(ViewConfig(), images)


def test_a_size_in_the_configuration_is_that_of_the_views():
    images = _smooth(4)
    assert torch.equal(_make(ViewConfig(size=16), images, size=24), _make(ViewConfig(), images, size=16))
