"""Images side by side: the same values, gradients and names as an ordinary convolution."""

import pytest
import torch
from torch import nn

from likewise.models import packed_conv
from likewise.models.packed_conv import (
    LONGEST_LINE,
    TILE,
    PackedConv2d,
    images_side_by_side,
    pack_convolutions,
)

SIZES = [(1, 3), (7, 3), (8, 3), (12, 5), (16, 7), (6, 1), (4, 16), (2, 28), (10, 2), (3, 4)]


@pytest.fixture(autouse=True)
def tiles(monkeypatch):
    """A processor with a matrix unit for every type, which this one may not be."""
    monkeypatch.setattr(packed_conv, "TILED_TYPES", (torch.bfloat16, torch.float32, torch.float64))


def _pair(inputs=5, outputs=6, stride=1):
    torch.manual_seed(0)
    packed = PackedConv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    plain = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    plain.load_state_dict(packed.state_dict())
    return packed, plain


def _run(convolution, images):
    images = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    result = convolution(images)
    direction = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    (result * direction).sum().backward()
    return result, images.grad, convolution.weight.grad


@pytest.mark.parametrize(("batch", "side"), SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_is_the_ordinary_convolution(batch, side, stride, layout):
    packed, plain = _pair(stride=stride)
    images = torch.randn(batch, 5, side, side).contiguous(memory_format=layout)
    for own, expected in zip(_run(packed, images), _run(plain, images), strict=True):
        assert own.shape == expected.shape
        # sums of some hundred terms in another order; the weights' gradient sums over all pixels
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch", "side"), SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_is_exact_in_double_precision(batch, side, stride):
    packed, plain = _pair(stride=stride)
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


@pytest.mark.parametrize("stride", [1, 2])
def test_images_that_are_not_square(stride):
    packed, plain = _pair(stride=stride)
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
@pytest.mark.parametrize("stride", [1, 2])
def test_count_divides_the_batch_and_never_packs_for_nothing(width, stride):
    for batch in range(1, 130):
        count = images_side_by_side(batch, width, stride)
        assert batch % count == 0
        if count > 1:
            assert count * (width + 1) <= LONGEST_LINE
            columns = -(-width // stride)
            tiles = -(-count * (width + 1) // stride // TILE)
            assert tiles < count * -(-columns // TILE)


def test_wide_maps_and_prime_batches_stay_as_they_are():
    assert {images_side_by_side(512, width) for width in (16, 28, 32, 64)} == {1}
    assert {images_side_by_side(512, width, stride=2) for width in (32, 56, 64)} == {1}
    assert images_side_by_side(1009, 3) == 1


def test_every_thread_has_a_line_of_images():
    assert images_side_by_side(64, 4, threads=1) == 64
    assert 64 // images_side_by_side(64, 4, threads=16) >= 16


def test_only_what_can_be_packed_is_packed():
    kept = [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, (3, 5), padding=1),
        nn.Conv2d(4, 4, 3, padding="same"),
    ]
    network = nn.Sequential(*kept, nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1, bias=False)))
    before = network.state_dict()
    pack_convolutions(network)
    assert list(network[:7]) == kept
    assert [type(module) for module in network[7]] == [PackedConv2d, PackedConv2d]
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(after[name] is before[name] or torch.equal(after[name], before[name]) for name in after)


def test_a_packed_network_computes_the_same():
    torch.manual_seed(0)
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=0).eval()
    images = torch.rand(8, 3, 64, 64)
    expected = network(images)
    pack_convolutions(network)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_hooks_and_random_numbers_are_left_alone():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)).eval()
    calls = []
    network[0].register_forward_hook(lambda *_: calls.append(1))
    state = torch.get_rng_state()
    pack_convolutions(network)
    assert torch.equal(torch.get_rng_state(), state)
    network(torch.rand(8, 4, 4, 4))
    assert calls == [1]
    assert not network[0].training


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated, and still in use
def test_a_traced_network_takes_other_batches():
    packed, plain = _pair()
    traced = torch.jit.trace(packed, torch.rand(8, 5, 4, 4))
    images = torch.rand(6, 5, 4, 4)
    torch.testing.assert_close(traced(images), plain(images), rtol=1e-5, atol=1e-5)


def test_without_a_matrix_unit_nothing_is_laid_side_by_side(monkeypatch):
    packed, plain = _pair()
    monkeypatch.setattr(packed, "_packed", None)  # a call of it would fail
    monkeypatch.setattr(packed_conv, "TILED_TYPES", (torch.bfloat16,))
    images = torch.rand(8, 5, 4, 4)
    assert torch.equal(packed(images), plain(images))
    monkeypatch.setattr(packed_conv, "TILED_TYPES", ())
    images, packed, plain = images.bfloat16(), packed.bfloat16(), plain.bfloat16()
    assert torch.equal(packed(images), plain(images))
