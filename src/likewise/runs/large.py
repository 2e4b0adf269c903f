"""Arrays with a row an image, which for millions of images and thousands of clusters are larger than memory."""

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

MOST_IN_MEMORY = 2**30  # bytes of one array


def cache_folder() -> Path:
    """Where files go that can be made again: `$LIKEWISE_CACHE`, or `~/.cache/likewise`. May be deleted between runs."""
    return Path(os.environ.get("LIKEWISE_CACHE") or "~/.cache/likewise").expanduser()


def large_array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array to be filled; what it holds before that is undefined.

    One of more than a gigabyte is a mapped file in `cache_folder()`, without a name and gone with the array: the system
    can write it out where memory is short. Where that cannot be had, on a full disk or on Windows, it is in memory.

    Args:
        shape: Of the array.
        dtype: Of its numbers.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > MOST_IN_MEMORY and hasattr(os, "posix_fallocate"):
        folder = cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # a mapped file that finds no place on the disk later would end the process
            if size < shutil.disk_usage(folder).free:
                with tempfile.TemporaryFile(dir=folder) as file:
                    os.posix_fallocate(file.fileno(), 0, size)
                    return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
        except OSError:
            pass
    return np.empty(shape, dtype)
