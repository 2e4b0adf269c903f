"""Two processes that train as one, connected by gloo."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp

WORLD = 2


def _enter(rank: int, job: Callable[[int, Path], None], folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test")
    from likewise.ranks import connect

    connect()
    job(rank, folder)
    torch.distributed.destroy_process_group()


def together(job: Callable[[int, Path], None], folder: Path) -> None:
    """Run `job(rank, folder)` in two processes; what it finds it writes into the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_enter, args=(job, folder, port), nprocs=WORLD)  # type: ignore[attr-defined]
