"""In which order training sees the images."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from likewise.errors import InputError


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Rows for each batch of one epoch, all of the same size; the rest of the epoch is left out.

    The order is a function of the arguments alone, so a run that is resumed sees what it would have seen. It is made
    of Philox's raw numbers, which NumPy keeps the same in all versions, as it does not for `permutation`.

    Args:
        count: How many images there are.
        batch_size: Rows a batch, 1..count.
        seed: Of the run, 0 or more.
        epoch: From 0.

    Returns:
        An iterator over int64 [batch_size].

    Raises:
        InputError: If there are fewer images than a batch holds.

    Example:
        >>> [rows.tolist() for rows in shuffled_batches(5, 2, seed=0, epoch=0)]
        [[0, 2], [1, 4]]
    """
    if not 1 <= batch_size <= count:
        raise InputError(
            f"a batch of {batch_size} cannot be filled from {count} images; use a batch size of 1 to {count}"
        )
    key = np.array([seed, epoch], dtype=np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")
    return (order[start : start + batch_size] for start in range(0, count - batch_size + 1, batch_size))
