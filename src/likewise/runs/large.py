"""Arrays with a row an image, which for millions of images and thousands of clusters are larger than memory."""

import math
import mmap
import os
import shutil
import tempfile

import numpy as np
from numpy.typing import DTypeLike

from likewise.errors import RunError
from likewise.folders import cache_folder

MOST_IN_MEMORY = 2**30  # bytes of one array
LEFT_FREE = 3  # times an array that must stay free on the disk: what is computed is written to a run as well


def large_array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array to be filled; what it holds before that is undefined.

    One of more than a gigabyte is a mapped file in `cache_folder()`, without a name and gone with the array: the system
    can write it out where memory is short. It is in memory where the disk has not four times as much room, and off
    Linux.

    Args:
        shape: Of the array.
        dtype: Of its numbers.

    Raises:
        RunError: If there is neither disk nor memory for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    mapped = _mapped(size) if size > MOST_IN_MEMORY else None
    if mapped is not None:
        return np.ndarray(shape, dtype, mapped)
    try:
        return np.empty(shape, dtype)
    except MemoryError as error:
        raise RunError(
            f"an array of {size / 1e9:.1f} GB fits neither into memory nor, with room to spare, on "
            "the disk; choose a larger one with the environment variable LIKEWISE_CACHE."
        ) from error


def _mapped(size: int) -> mmap.mmap | None:
    """So many bytes of a file that has no name, where it can be had."""
    if not hasattr(os, "posix_fallocate"):
        return None
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < (1 + LEFT_FREE) * size:
            return None
        with tempfile.TemporaryFile(dir=folder) as file:
            # a mapped file that finds no place on the disk later would end the process
            os.posix_fallocate(file.fileno(), 0, size)
            return mmap.mmap(file.fileno(), size)
    except (OSError, RuntimeError):  # without a home there is no cache
        return None
