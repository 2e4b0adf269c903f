"""Colour matrices against torchvision's functions, alone and composed."""

from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional

from likewise.views.color import BRIGHTNESS, CONTRAST, HUE, SATURATION, grey_matrix, hue_matrix, jitter_matrix

NEUTRAL = [1.0, 1.0, 1.0, 0.0]


@pytest.fixture
def image(generator):
    """[3, 16, 16] in the middle of the range, so that no factor of a test reaches 0 or 1."""
    return 0.3 + 0.3 * torch.rand(3, 16, 16, generator=generator)


def _jittered(image, factors, order=(0, 1, 2, 3)):
    mean = image.mean(dim=(1, 2))[None]
    matrix, offset = jitter_matrix(torch.tensor([factors]), torch.tensor([order]), mean)
    return torch.einsum("ij,jhw->ihw", matrix[0], image) + offset[0][:, None, None]


def _single(place, value):
    factors = list(NEUTRAL)
    factors[place] = value
    return factors


FUNCTIONS = {
    BRIGHTNESS: functional.adjust_brightness,
    CONTRAST: functional.adjust_contrast,
    SATURATION: functional.adjust_saturation,
}


@pytest.mark.parametrize("place", FUNCTIONS)
@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.4])
def test_single_change_is_torchvisions(image, place, factor):
    expected = FUNCTIONS[place](image, factor)
    # torchvision's luma has 0.2989 and 0.114, which sum to 0.9999: that much is not ours
    torch.testing.assert_close(_jittered(image, _single(place, factor)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("place", FUNCTIONS)
@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_single_change_is_its_definition(image, place, factor):
    luma = (torch.tensor([0.299, 0.587, 0.114])[:, None, None] * image).sum(dim=0, keepdim=True)
    reference = {BRIGHTNESS: 0.0, CONTRAST: luma.mean(), SATURATION: luma}[place]
    expected = factor * image + (1 - factor) * reference
    torch.testing.assert_close(_jittered(image, _single(place, factor)), expected, rtol=0, atol=1e-5)


def test_grey_is_torchvisions(image):
    matrices = grey_matrix(torch.tensor([True, False]))
    expected = functional.rgb_to_grayscale(image, num_output_channels=3)
    torch.testing.assert_close(torch.einsum("ij,jhw->ihw", matrices[0], image), expected, rtol=0, atol=1e-4)
    assert torch.equal(matrices[1], torch.eye(3))


class TestHue:
    @pytest.mark.parametrize("turns", [-0.5, -0.1, 0.0, 0.25, 1.0])
    def test_grey_stays(self, turns):
        grey = torch.full((3, 4, 4), 0.37)
        torch.testing.assert_close(_jittered(grey, _single(HUE, turns)), grey, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("turns", [0.0, 1.0, -2.0])
    def test_full_turns_are_the_identity(self, turns):
        torch.testing.assert_close(hue_matrix(torch.tensor([turns]))[0], torch.eye(3), rtol=0, atol=1e-4)

    def test_turns_add_up(self):
        first, second, both = hue_matrix(torch.tensor([0.1, 0.07, 0.17]))
        torch.testing.assert_close(first @ second, both, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("turns", [-0.4, 0.1])
    def test_luma_stays(self, image, turns):
        luma = torch.tensor([0.299, 0.587, 0.114])
        changed = _jittered(image, _single(HUE, turns))
        expected = torch.einsum("c,chw->hw", luma, image)
        torch.testing.assert_close(torch.einsum("c,chw->hw", luma, changed), expected, rtol=0, atol=1e-4)

    # A rotation in HSV keeps the largest channel where ours keeps the luma, so a tenth of a turn differs on average by
    # 0.029 for muted colours and by 0.086 for colours from the whole cube; the rotation itself moves 0.030 and 0.099.
    @pytest.mark.parametrize("turns", [-0.1, -0.05, 0.05, 0.1])
    @pytest.mark.parametrize(("range_of_colors", "bound"), [(0.3, 0.03), (1.0, 0.09)], ids=["muted", "all"])
    def test_turns_the_way_of_torchvision(self, turns, range_of_colors, bound):
        noise = torch.rand(3, 100, 100, generator=torch.Generator().manual_seed(0))
        colors = 0.5 + range_of_colors * (noise - 0.5)
        expected = functional.adjust_hue(colors, turns)
        changed = _jittered(colors, _single(HUE, turns)).clamp(0, 1)
        assert (changed - expected).abs().mean() < bound
        moves = [(each - colors).flatten() for each in (changed, expected)]
        assert torch.cosine_similarity(*moves, dim=0) > 0.65

    @pytest.mark.parametrize(("turns", "largest"), [(0.0, 0), (1 / 3, 1), (2 / 3, 2)])
    def test_red_becomes_green_becomes_blue(self, turns, largest):
        red = torch.tensor([0.6, 0.4, 0.4])[:, None, None]
        assert _jittered(red, _single(HUE, turns)).flatten().argmax() == largest


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_composition_is_one_after_the_other(image, order):
    factors = [1.2, 0.8, 1.3, 0.05]
    expected = image
    for place in order:
        expected = _jittered(expected, _single(place, factors[place]))
    torch.testing.assert_close(_jittered(image, factors, order), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_composition_is_torchvisions(image, order):
    factors = [1.2, 0.8, 1.3]
    expected = image
    for place in order:
        expected = FUNCTIONS[place](expected, factors[place])
    torch.testing.assert_close(_jittered(image, [*factors, 0.0], (*order, HUE)), expected, rtol=0, atol=2e-4)


def test_each_image_has_its_own_factors_and_order(generator):
    images = torch.rand(6, 3, 8, 8, generator=generator)
    factors = torch.tensor(NEUTRAL) + 0.2 * torch.rand(6, 4, generator=generator)
    order = torch.rand(6, 4, generator=generator).argsort(dim=1)
    matrices, offsets = jitter_matrix(factors, order, images.mean(dim=(2, 3)))
    together = torch.einsum("bij,bjhw->bihw", matrices, images) + offsets[:, :, None, None]
    for i in range(6):
        alone = _jittered(images[i], factors[i].tolist(), order[i].tolist())
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-5)


def test_neutral_factors_change_nothing(image):
    torch.testing.assert_close(_jittered(image, NEUTRAL), image, rtol=0, atol=1e-5)
