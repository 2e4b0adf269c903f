"""Pooling of 2 x 2 pixels: torch's values and gradients, to the bit."""

import shutil

import pytest
import torch
from torch import Tensor, nn

from likewise.models import small_pool
from likewise.models.kernels import COMPILER, kernels, load_kernels
from likewise.models.small_pool import SmallPool


def run(pool: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    pixels = pixels.detach().clone().requires_grad_()
    result = pool(pixels)
    (result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)).sum().backward()
    assert pixels.grad is not None
    return result.detach(), pixels.grad


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs g++")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 16, 2, 2), (3, 48, 6, 10), (8, 64, 32, 32)])
def test_it_is_torchs(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    load_kernels()
    assert kernels() is not None
    torch.manual_seed(0)
    pixels = torch.randint(-2, 3, shape).to(dtype).to(memory_format=torch.channels_last)  # with many that are equal
    for one, other in zip(run(SmallPool(), pixels), run(nn.MaxPool2d(2), pixels), strict=True):
        assert torch.equal(one, other)
        assert one.is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_number_stays_so() -> None:
    pixels = torch.zeros(1, 16, 2, 4).to(memory_format=torch.channels_last)
    pixels[0, 5, 0, 0] = torch.nan
    result = SmallPool()(pixels)
    assert result[0, 5, 0, 0].isnan()
    assert result.isnan().sum() == 1


@pytest.mark.parametrize("shape", [(2, 16, 5, 4), (2, 16, 4, 5), (2, 12, 4, 4)])
def test_elsewhere_it_is_torchs_own(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_pool, "kernels", lambda: pytest.fail("this is not for the kernels"))
    pixels = torch.rand(shape).to(memory_format=torch.channels_last)
    for one, other in zip(run(SmallPool(), pixels), run(nn.MaxPool2d(2), pixels), strict=True):
        assert torch.equal(one, other)
