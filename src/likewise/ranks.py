"""Several processes that train as one, as `torchrun` starts them. In a single process, everything here does nothing.

Nothing is imported from torch before it is needed: command line and progress ask for the rank as well.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """In here this process is the only one: for what every process does by itself, and all alike."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def _distributed() -> Any | None:
    """torch.distributed, where processes are connected by it."""
    if _alone:
        return None
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None


def world_size() -> int:
    """How many processes train together."""
    distributed = _distributed()
    return distributed.get_world_size() if distributed else 1


def rank() -> int:
    """Which of them this one is, from 0, which is the one that writes and speaks."""
    distributed = _distributed()
    return distributed.get_rank() if distributed else 0


def connect() -> None:
    """Connect the processes that `torchrun` has started, each to its own device; a second call does nothing."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or _distributed():
        return
    import torch

    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # one process may compute features or write results for hours while the others wait
    torch.distributed.init_process_group("nccl" if gpus else "gloo", timeout=timedelta(days=2))


def wait() -> None:
    """Go on when every process has come here."""
    if distributed := _distributed():
        distributed.barrier()


def agreed(numbers: list[float]) -> list[float]:
    """The numbers of rank 0, on every process: clocks differ, and all must decide alike."""
    if distributed := _distributed():
        values: list[Any] = [numbers]
        distributed.broadcast_object_list(values)
        return values[0]
    return numbers


def gather(rows: "Tensor") -> "Tensor":
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
    import torch

    class Gather(torch.autograd.Function):
        """All rows forward; backward, the sum of what every process has to say of the own ones."""

        @staticmethod
        def forward(ctx: Any, own: "Tensor") -> "Tensor":
            parts = [torch.empty_like(own) for _ in range(world_size())]
            torch.distributed.all_gather(parts, own)
            return torch.cat(parts)

        @staticmethod
        def backward(ctx: Any, *gradients: "Tensor") -> "Tensor":
            total = gradients[0].clone(memory_format=torch.contiguous_format)
            torch.distributed.all_reduce(total)
            return total.chunk(world_size())[rank()]

    return Gather.apply(rows.contiguous())


def share(tensor: "Tensor") -> None:
    """Give every process the values of rank 0, in place."""
    if distributed := _distributed():
        distributed.broadcast(tensor.detach(), src=0)


def share_buffers(module: "Module") -> None:
    """The same for all buffers, such as statistics of batch norm, which each process gathers for itself."""
    for buffer in module.buffers():
        share(buffer)
