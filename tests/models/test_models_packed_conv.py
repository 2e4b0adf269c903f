"""Images side by side: the same values, gradients and names as an ordinary convolution."""

import pytest
import torch
from torch import nn

from likewise.models.packed_conv import MOST_PACKED, TILE, PackedConv2d, images_side_by_side

SIZES = [(1, 3), (7, 3), (8, 3), (12, 5), (16, 7), (6, 1), (4, 16), (2, 28), (10, 2), (3, 4)]


def _pair(inputs=5, outputs=6):
    torch.manual_seed(0)
    packed = PackedConv2d(inputs, outputs)
    plain = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    plain.load_state_dict(packed.state_dict())
    return packed, plain


def _run(convolution, images):
    images = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    result = convolution(images)
    direction = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    (result * direction).sum().backward()
    return result, images.grad, convolution.weight.grad


@pytest.mark.parametrize(("batch", "side"), SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_is_the_ordinary_convolution(batch, side, layout):
    packed, plain = _pair()
    images = torch.randn(batch, 5, side, side).contiguous(memory_format=layout)
    for own, expected in zip(_run(packed, images), _run(plain, images), strict=True):
        assert own.shape == expected.shape
        # sums of some hundred terms in another order; the weights' gradient sums over all pixels
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch", "side"), SIZES)
def test_is_exact_in_double_precision(batch, side):
    packed, plain = _pair()
    images = torch.randn(batch, 5, side, side, dtype=torch.float64)
    for own, expected in zip(_run(packed.double(), images), _run(plain.double(), images), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("batch", "side"), [(8, 3), (7, 3), (16, 7)])
def test_is_the_ordinary_convolution_in_bfloat16(batch, side):
    packed, plain = _pair(inputs=32, outputs=32)
    images = torch.randn(batch, 32, side, side).contiguous(memory_format=torch.channels_last).bfloat16()
    for own, expected in zip(_run(packed.bfloat16(), images), _run(plain.bfloat16(), images), strict=True):
        scale = expected.float().abs().max().item()
        torch.testing.assert_close(own.float(), expected.float(), rtol=0, atol=0.01 * scale)


def test_images_that_are_not_square():
    packed, plain = _pair()
    images = torch.randn(8, 5, 9, 3)
    torch.testing.assert_close(packed(images), plain(images), rtol=1e-5, atol=1e-5)


def test_an_image_does_not_see_its_neighbours():
    packed, _ = _pair()
    images = torch.randn(8, 5, 3, 3)
    changed = images.clone()
    changed[3] += 100
    before, after = packed(images), packed(changed)
    others = [i for i in range(8) if i != 3]
    torch.testing.assert_close(after[others], before[others], rtol=1e-5, atol=1e-5)


def test_saved_weights_are_those_of_a_convolution():
    packed, plain = _pair()
    assert list(packed.state_dict()) == list(plain.state_dict()) == ["weight"]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 14, 15, 16, 28, 32, 112])
def test_count_divides_the_batch_and_never_packs_for_nothing(width):
    for batch in range(1, 130):
        count = images_side_by_side(batch, width)
        assert 1 <= count <= MOST_PACKED
        assert batch % count == 0
        if count > 1:
            lines = -(-count * (width + 1) // TILE)
            tiles_before = count * -(-width // TILE)
            assert lines < tiles_before


def test_wide_maps_and_prime_batches_stay_as_they_are():
    assert {images_side_by_side(512, width) for width in (16, 28, 32, 64)} == {1}
    assert images_side_by_side(11, 3) == 1
