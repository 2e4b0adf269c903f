"""Rows of an array that is larger than memory."""

import mmap
import os
import weakref
from typing import Any, cast

import numpy as np
from jaxtyping import Int

from likewise.errors import RunError


class Rows:
    """Reads rows of an array, one read of the file each where the array is a memory-mapped file.

    Through the map, every row that was ever read would count as memory of the process until the system takes it back,
    and the system would read much more than a row, since it expects to be read in order. All rows of a call are asked
    for before the first is waited for, so that a disk has many of them to do at once.

    Args:
        array: [..., N, F]; a memory-mapped one as a whole, not a part of it, whose rows lie one after the other. Of any
            other, rows are copied.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self._file: int | None = None
        self._name, self._offset = "", 0
        # not on Windows, where the map has to do
        whole = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.flags.c_contiguous
        if whole and hasattr(os, "preadv"):
            mapped = cast("np.memmap[Any, Any]", array)
            self._name, self._offset = str(mapped.filename), mapped.offset
            self._file = os.open(self._name, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __call__(self, *places: Int[np.ndarray, " B"]) -> np.ndarray:
        """The rows at these places, [B, F], in the type of the array.

        Args:
            places: One index for each axis but the last.

        Raises:
            RunError: If the file has become shorter.
        """
        if self._file is None:
            return self.array[places]
        array, file = self.array, self._file
        rows = np.empty((len(places[0]), array.shape[-1]), dtype=array.dtype)
        length = rows.shape[1] * rows.itemsize
        starts = (self._offset + np.ravel_multi_index(places, array.shape[:-1]) * length).tolist()
        if hasattr(os, "posix_fadvise"):
            for start in starts:
                os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)
        into = memoryview(cast(Any, rows.reshape(-1).view(np.uint8)))
        for number, start in enumerate(starts):
            if os.preadv(file, [into[number * length : (number + 1) * length]], start) < length:
                raise RunError(f"{self._name} has become shorter since it was opened; remove it and run again.")
        return rows
