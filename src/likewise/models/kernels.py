"""Operations in C++ (kernels.cpp), built on the machine that uses them where that has a compiler."""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]

from likewise.folders import cache_folder
from likewise.processor import processor_flags, processor_name
from likewise.progress import say
from likewise.runs.files import replacing

COMPILER = "g++"  # not clang, whose OpenMP would be a second pool of threads beside torch's
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
MOST_SECONDS = 120
LANES = 16  # channels come in multiples of this


def kernels() -> ctypes.CDLL | None:
    """The operations of kernels.cpp where `load_kernels` has found them, else None: torch then does the same work."""
    return load_kernels() if load_kernels.cache_info().currsize else None


@cache
def load_kernels() -> ctypes.CDLL | None:
    """The operations of kernels.cpp, built for this processor and kept in the cache; a training asks for them.

    It takes a few seconds the first time. `LIKEWISE_KERNELS=0` turns it off.

    Returns:
        A library with `norm_forward`, `norm_backward`, `pool_forward` and `pool_backward`; or None off Linux, without
        g++, where it cannot be built, or without a place to keep it that is safe.
    """
    found = _library()
    if found is not None:
        flag, pointer, count = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
        found.norm_forward.argtypes = [flag, flag, *[pointer] * 6, count, count, ctypes.c_double]
        found.norm_backward.argtypes = [flag, flag, *[pointer] * 9, count, count]
        found.pool_forward.argtypes = [flag, *[pointer] * 2, *[count] * 4]
        found.pool_backward.argtypes = [flag, *[pointer] * 3, *[count] * 4]
        for operation in (found.norm_forward, found.norm_backward, found.pool_forward, found.pool_backward):
            operation.restype = None
    return found


def takes(pixels: Tensor) -> bool:
    """Whether the operations are for such pixels: maps [B, C, H, W] of a processor, in channels_last."""
    there = pixels.device.type == "cpu" and pixels.dtype in (torch.bfloat16, torch.float32) and pixels.ndim == 4
    if not there or torch.compiler.is_compiling() or is_tracing():
        return False
    return pixels.shape[1] % LANES == 0 and pixels.is_contiguous(memory_format=torch.channels_last)


def takes_weights(weights: Tensor) -> bool:
    """Whether the operations are for such weights of channels."""
    return weights.device.type == "cpu" and weights.dtype == torch.float32


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's values begin, as the operations take it."""
    return None if tensor is None else tensor.data_ptr()


def _library() -> ctypes.CDLL | None:
    compiler = shutil.which(COMPILER)
    if os.environ.get("LIKEWISE_KERNELS") == "0" or sys.platform != "linux" or compiler is None:
        return None
    source = Path(__file__).with_name("kernels.cpp")
    command = [str(Path(compiler).resolve()), *OPTIONS, str(source)]
    slower = "torch does its work more slowly"
    try:
        folder = cache_folder() / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{_key(source, command)}.so"
        if not _is_safe(folder) or (path.exists() and not _is_ours(path)):
            say(f"note: others can write to {folder}, so that {source.name} is not loaded from it, and {slower}")
            return None
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # what another system has built, which shares the cache
                path.unlink()
        _build(path, command)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # a home that is not there is a RuntimeError
        say(f"note: {source.name} could not be built here, and {slower}")
        return None


def _build(path: Path, command: Sequence[str]) -> None:
    say(f"building {Path(command[-1]).name} for this processor, once")
    with replacing(path) as temporary:
        subprocess.run([*command, "-o", str(temporary)], check=True, capture_output=True, timeout=MOST_SECONDS)
    path.chmod(0o600)  # what its group may write to would not be loaded


def _is_ours(path: Path) -> bool:
    """Whether nobody else can write to a file or folder."""
    found = path.lstat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_safe(folder: Path) -> bool:
    """Whether nobody else can put a library there: it is code that will run."""
    above = [parent.stat() for parent in folder.resolve().parents]
    # in a sticky folder such as /tmp, nobody can move what belongs to another user
    fixed = (found.st_mode & stat.S_ISVTX or not found.st_mode & stat.S_IWOTH for found in above)
    return _is_ours(folder) and all(fixed) and {found.st_uid for found in above} <= {0, os.getuid()}


def _key(source: Path, command: Sequence[str]) -> str:
    """A name for what is built of what, how, and for which system: a cache may be shared by several machines."""
    digest = hashlib.sha256(source.read_bytes())
    for part in (*command[:-1], *platform.libc_ver(), processor_name(), *sorted(processor_flags())):
        digest.update(f"{part}\0".encode())
    return digest.hexdigest()[:16]
