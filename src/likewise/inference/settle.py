"""Statistics for the batch norms of a network that has not been trained."""

from contextlib import closing
from itertools import islice

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from likewise.data import ImageStore
from likewise.training.machine import Machine
from likewise.views import plain_view

BATCHES = 16  # that the statistics are the mean of


@torch.no_grad()
def settle_norms(backbone: nn.Module, store: ImageStore, machine: Machine, batch_size: int, seed: int) -> None:
    """Give the batch norms of an untrained backbone the statistics that they will see in training.

    They start from a mean of 0 and a variance of 1, with which the features of images are on another scale than they
    are in the first training step: 15 times smaller in ResNet9. Centres that are put among the former are lost there.

    Args:
        backbone: From images to features; changed in place and left in training mode.
        store: The images.
        machine: How to compute.
        batch_size: Of the training.
        seed: Decides which images are seen.
    """
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, not the trace of the last ones
    backbone.train().to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with closing(store.training_batches(batch_size, seed, 0)) as batches, machine.autocast():
        for images in islice(batches, BATCHES):
            backbone(plain_view(images.to(machine.device), machine.dtype))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
