"""Pooling of 2 x 2 pixels in one pass, where a processor trains."""

import ctypes
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from likewise.models.kernels import address, kernels, takes


class SmallPool(nn.MaxPool2d):
    """The largest of each 2 x 2 pixels.

    torch keeps an index of 8 bytes for each of them, and fills the gradient with zeros first; this reads the pixels
    again instead. Values and gradients are the same. Maps of odd sides, and GPUs, have torch's own.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        even = input.shape[-1] % 2 == 0 and input.shape[-2] % 2 == 0
        if even and takes(input) and (found := kernels()):
            return cast(Any, _Pooled).apply(input, found)
        return functional.max_pool2d(input, 2)


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, library: ctypes.CDLL) -> Tensor:
        batch, channels, height, width = pixels.shape
        shape = batch, channels, height // 2, width // 2
        result = torch.empty(shape, dtype=pixels.dtype, memory_format=torch.channels_last)
        half = pixels.dtype == torch.bfloat16
        library.pool_forward(half, address(pixels), address(result), batch, height, width, channels)
        ctx.library = library
        ctx.save_for_backward(pixels)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (pixels,) = ctx.saved_tensors
        batch, channels, height, width = pixels.shape
        gradient = gradient.to(pixels.dtype).contiguous(memory_format=torch.channels_last)
        result, half = torch.empty_like(pixels), pixels.dtype == torch.bfloat16
        places = map(address, (gradient, pixels, result))
        ctx.library.pool_backward(half, *places, batch, height, width, channels)
        return result, None
