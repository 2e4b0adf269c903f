"""Batch norm and what follows it in one operation, where a processor trains."""

import ctypes
from enum import IntEnum
from typing import Any, cast

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from likewise.models.kernels import address, kernels, takes, takes_weights
from likewise.models.resnet9 import Residual


class What(IntEnum):
    """What is made of the normalised pixels n and a residual r; the order is that of kernels.cpp."""

    NORM = 0
    RELU = 1
    RELU_OF_SUM = 2  # relu(n + r), where the blocks of a ResNet end
    SUM_WITH_RELU = 3  # relu(n) + r, where those of a ResNet9 do


class Joined(nn.Module):
    """What follows a batch norm, one operation after another.

    Args:
        what: Which operations.
    """

    def __init__(self, what: What) -> None:
        super().__init__()
        self.what = what

    def forward(self, normed: Tensor, residual: Tensor | None = None) -> Tensor:
        if self.what == What.RELU_OF_SUM:
            normed = normed + cast(Tensor, residual)
        if self.what != What.NORM:
            normed = torch.relu(normed)
        return normed + cast(Tensor, residual) if self.what == What.SUM_WITH_RELU else normed


class FusedNorm(nn.BatchNorm2d):
    """A batch norm with the sum and the ReLU that follow it: one operation, in training on a processor.

    Memory is what bounds these layers. torch reads or writes all of their pixels some 13 times in a step, this 8 times
    and in simpler loops, which is about twice as fast (docs/speed.md). The result is the same but for the order of
    sums. Elsewhere, in evaluation mode, and where `kernels.cpp` has not been loaded, it is torch's batch norm, sum and
    ReLU one after another. `fuse_norms` makes these.

    Attributes:
        act: What follows. It stays where the norm becomes a part of the convolution before it.
    """

    act: Joined

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        if self._fits(input) and (residual is None or _alike(residual, input)) and (found := kernels()):
            return self._fused(input, residual, found)
        return self.act(super().forward(input), residual)

    def _fits(self, input: Tensor) -> bool:
        """Whether it is what the operation is for: it keeps running statistics in torch's default way alone."""
        usual = self.training and self.affine and self.track_running_stats and self.momentum is not None
        enough = takes(input) and input.shape[1] == self.num_features < input.numel()
        return usual and enough and all(takes_weights(own) for own in (self.weight, self.bias))

    def _fused(self, input: Tensor, residual: Tensor | None, library: ctypes.CDLL) -> Tensor:
        output, statistics = cast(Any, _Normed).apply(
            input, residual, self.weight, self.bias, self.act.what, self.eps, library
        )
        rows, momentum = input.numel() // self.num_features, cast(float, self.momentum)
        with torch.no_grad():
            cast(Tensor, self.num_batches_tracked).add_(1)
            cast(Tensor, self.running_mean).lerp_(statistics[0], momentum)
            cast(Tensor, self.running_var).lerp_(statistics[2] * (rows / (rows - 1)), momentum)
        return output


class _Normed(torch.autograd.Function):
    """The operation and its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        what: What,
        epsilon: float,
        library: ctypes.CDLL,
    ) -> tuple[Tensor, Tensor]:
        channels = pixels.shape[1]
        result, statistics = torch.empty_like(pixels), weight.new_empty(3, channels)
        library.norm_forward(
            pixels.dtype == torch.bfloat16,
            what,
            *map(address, (pixels, residual, result, weight, bias, statistics)),
            pixels.numel() // channels,
            channels,
            epsilon,
        )
        ctx.what, ctx.library = what, library
        ctx.save_for_backward(pixels, result if what == What.RELU_OF_SUM else None, weight, bias, statistics)
        ctx.mark_non_differentiable(statistics)
        return result, statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        pixels, result, weight, bias, statistics = ctx.saved_tensors
        gradient = gradient.to(pixels.dtype).contiguous(memory_format=torch.channels_last)
        channels, of_pixels = pixels.shape[1], torch.empty_like(pixels)
        of_weights = weight.new_empty(2, channels)
        passed = torch.empty_like(pixels) if ctx.what == What.RELU_OF_SUM else None
        ctx.library.norm_backward(
            pixels.dtype == torch.bfloat16,
            ctx.what,
            *map(address, (gradient, pixels, result, of_pixels, passed, weight, bias, statistics, of_weights)),
            pixels.numel() // channels,
            channels,
        )
        if ctx.what == What.SUM_WITH_RELU:
            passed = gradient
        return of_pixels, passed, *of_weights, None, None, None


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and takes(one)


class _FusedBasicBlock(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))), shortcut)


class _FusedBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(inner), shortcut)


class _FusedResidual(Residual):
    def forward(self, input: Tensor) -> Tensor:
        first, (convolution, norm, _) = cast(Any, self)
        return norm(convolution(first(input)), input)


def fuse_norms(network: nn.Module) -> bool:
    """Let the batch norms of a network do what follows them: a ReLU, and where a residual block ends, its sum.

    In sequences of modules, in ResNet9 and in the ResNets of timm; another norm is fused by itself. The names of
    weights stay, and so does what is computed. But torch's `convert_sync_batchnorm` would lose the ReLUs: that comes
    first, if at all.

    Args:
        network: Changed in place.

    Returns:
        Whether it now has such norms.
    """
    modules = list(network.modules())
    for module in modules:
        if isinstance(module, nn.Sequential):
            for norm, name in zip(module, [*module._modules][1:], strict=False):
                _take_over(norm, What.RELU, module, name)
        elif type(module) is ResNet:
            _take_over(module.bn1, What.RELU, module, "act1")
        elif type(module) is BasicBlock and _is_plain(module):
            _take_over(module.bn1, What.RELU, module, "act1")
            if _take_over(module.bn2, What.RELU_OF_SUM, module, "act2"):
                module.__class__ = _FusedBasicBlock
        elif type(module) is Bottleneck and _is_plain(module):
            _take_over(module.bn1, What.RELU, module, "act1")
            _take_over(module.bn2, What.RELU, module, "act2")
            if _take_over(module.bn3, What.RELU_OF_SUM, module, "act3"):
                module.__class__ = _FusedBottleneck
    for module in modules:
        if type(module) is Residual and type(norm := cast(Any, module)[-1][-2]) is FusedNorm:
            norm.act.what, module.__class__ = What.SUM_WITH_RELU, _FusedResidual
        _take_over(module, What.NORM)
    return any(type(module) is FusedNorm for module in modules)


def _take_over(norm: nn.Module, what: What, owner: nn.Module | None = None, name: str = "") -> bool:
    """Make a `FusedNorm` of an ordinary norm if a ReLU of this name follows it, or nothing; says whether it did."""
    if type(norm) is not nn.BatchNorm2d:
        return False
    if owner is not None:
        if type(getattr(owner, name)) is not nn.ReLU:
            return False
        setattr(owner, name, nn.Identity())
    norm.__class__ = FusedNorm
    norm.act = Joined(what)
    return True


def _is_plain(block: BasicBlock | Bottleneck) -> bool:
    """Whether nothing comes between its convolutions, norms and activations."""
    between = (getattr(block, name, None) for name in ("drop_block", "drop_path", "aa", "se"))
    return all(module is None or type(module) is nn.Identity for module in between)
