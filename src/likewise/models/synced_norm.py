"""Batch norm over the images of all processes."""

from typing import cast

import torch
from torch import Tensor, nn

from likewise.ranks import gather, world_size


class _Synced(nn.modules.batchnorm._BatchNorm):
    """A batch norm whose mean and variance are those of the joined batch, with gradients through both.

    torch has one for GPUs only. Every process must have as many images as the others.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats and world_size() > 1):
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        axes, shape = [0, *range(2, input.ndim)], [1, -1, *[1] * (input.ndim - 2)]
        mean = gather(values.mean(axes)[None]).mean(dim=0)
        centred = values - mean.view(shape)
        variance = gather(centred.square().mean(axes)[None]).mean(dim=0)
        with torch.no_grad():
            count = cast(Tensor, self.num_batches_tracked).add_(1)
            weight = 1 / float(count) if self.momentum is None else self.momentum
            rows = world_size() * input.numel() // self.num_features
            cast(Tensor, self.running_mean).lerp_(mean, weight)
            cast(Tensor, self.running_var).lerp_(variance * (rows / (rows - 1)), weight)
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)


class SyncedNorm1d(_Synced, nn.BatchNorm1d):
    """`_Synced` for features."""


class SyncedNorm2d(_Synced, nn.BatchNorm2d):
    """`_Synced` for maps of pixels."""


_SYNCED = {nn.BatchNorm1d: SyncedNorm1d, nn.BatchNorm2d: SyncedNorm2d}


def synchronise_norms(network: nn.Module, device: str) -> None:
    """Let the batch norms of a network see the images of all processes, in place; weights keep their names.

    Where processors train, norms of timm that hold an activation keep statistics of their own process.

    Args:
        network: Whose norms; it is no norm itself.
        device: What it trains on. On a GPU torch's own takes over, in timm's way: torch's conversion, which Lightning's
            `sync_batchnorm` uses, takes the activation away from timm's norms that have one.
    """
    if device == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm

        for name, child in network.named_children():
            setattr(network, name, convert_sync_batchnorm(child))
        return
    for module in network.modules():
        if type(module) in _SYNCED:
            module.__class__ = _SYNCED[type(module)]
