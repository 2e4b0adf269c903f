"""Several processes that train as one. Without them, everything here does nothing."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, on every process; gradients flow back to all of them.

    Each process computes the loss of the joined batch from the result. The gradient that comes back to a process is the
    sum over the losses of all of them, that is, `world_size` times its share; averaging the gradients of parameters
    over processes, as DistributedDataParallel does, then gives exactly the gradient of one process.

    Args:
        rows: [B, ...], of one shape everywhere.

    Returns:
        [B * world_size, ...]; `rows` itself where there is one process.
    """
    if world_size() == 1:
        return rows
    if not rows.requires_grad:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(rows.contiguous())))
