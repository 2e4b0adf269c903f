"""A slowly following copy of a network."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class MomentumEncoder(nn.Module):
    """An exponential moving average of another module's weights, which gives steady keys and takes no gradient.

    Args:
        module: The network to copy and to follow.

    Source:
        He et al., MoCo, arXiv 1911.05722, Eq. 2.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        return self.module(*args)

    @torch.no_grad()
    def update(self, module: nn.Module, momentum: float | Tensor, buffers: bool = False) -> None:
        """Move towards `module`: own = momentum * own + (1 - momentum) * other.

        Args:
            module: Where to.
            momentum: How much of the own weights stays, in 0..1.
            buffers: Whether running statistics move along, for a copy in evaluation mode. Otherwise they are left
                alone: the copy's batch norm keeps its own.
        """
        for own, other in zip(self.module.parameters(), module.parameters(), strict=True):
            own.lerp_(other, 1 - momentum)
        if buffers:
            for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
                if own.is_floating_point():
                    own.lerp_(other, 1 - momentum)
