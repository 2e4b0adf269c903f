"""A first-in, first-out store of keys that serve as negatives."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Queue(nn.Module):
    """The last `size` keys, as MoCo keeps them.

    Args:
        initial: What it holds before the first push, [size, D], such as random unit vectors.

    Source:
        He et al., MoCo, arXiv 1911.05722, section 3.2.
    """

    def __init__(self, initial: Float[Tensor, "M D"]) -> None:
        super().__init__()
        self.register_buffer("keys", initial.clone())
        self.register_buffer("next_row", torch.zeros((), dtype=torch.long))

    def forward(self) -> Float[Tensor, "M D"]:
        """All keys, in no particular order."""
        # a copy: the backward pass needs these values after the next push has overwritten the oldest
        return cast(Tensor, self.keys).clone()

    @torch.no_grad()
    def push(self, keys: Float[Tensor, "B D"]) -> None:
        """Put new keys in the place of the oldest ones; of more keys than fit, the last stay."""
        stored, start = cast(Tensor, self.keys), cast(Tensor, self.next_row)
        size = len(stored)
        dropped = max(len(keys) - size, 0)
        places = (start + dropped + torch.arange(len(keys) - dropped, device=stored.device)) % size
        stored[places] = keys[dropped:].to(stored.dtype)
        start.copy_((start + len(keys)) % size)
