"""The nearest images of each image."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from likewise.errors import InputError
from likewise.progress import say, track
from likewise.training.rows import Rows

BLOCK = 1024  # rows compared with all others at a time
MOST_EXACT = 100_000  # images that are all compared with each other
COMPARED = 20_000  # images that each is compared with where there are more
ROWS_A_CELL = 50  # from which the centres of cells are found
ROUNDS = 5


@torch.inference_mode()
def nearest_images(features: Float[np.ndarray, "N F"], count: int) -> Int[np.ndarray, "N count"]:
    """The `count` nearest other images of each image by the cosine of their features, nearest first.

    Up to 100,000 images exact, and quadratic in N: 10,000 images of 1,280 features take about a second on two cores,
    100,000 two minutes. Of more images, each is compared with the others in its cell and with the 20,000 that are
    nearest to the centre of that cell, where cells are the clusters of a few rounds of spherical K-means; a cell of
    more images than that is taken in parts. So a near image may be missed. Time grows linearly but for finding the
    cells, and memory holds some 20,000 rows and, for each of about sqrt(N) cells, which 20,000 are nearest to it.

    Args:
        features: Of the images as they are; rows of a memory-mapped file are read as they are needed.
        count: 1 .. N - 1.

    Raises:
        InputError: If there are too few images.

    Example:
        >>> nearest_images(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], dtype=np.float32), 1).tolist()
        [[1], [0], [1]]
    """
    total = len(features)
    if not 0 < count < total:
        raise InputError(f"{count} neighbours of each of {total} images: there must be more images than that.")
    read = Rows(features)
    groups = _everybody(total) if total <= MOST_EXACT else _around_cells(read, total, max(COMPARED, count + 1))
    nearest = np.empty((total, count), dtype=np.int64)
    with track("finding neighbours", total=total) as tracker:
        for own, others in groups:
            compared = np.concatenate([own, others])
            unit = _unit(read, compared)
            for start in range(0, len(own), BLOCK):
                similarity = unit[start : min(start + BLOCK, len(own))] @ unit.T
                rows = torch.arange(len(similarity))
                similarity[rows, start + rows] = -torch.inf  # an image is no neighbour of itself
                found = similarity.topk(count, dim=1).indices.numpy()
                nearest[own[start : start + BLOCK]] = compared[found]
                tracker.advance(len(similarity))
    return nearest


Group = tuple[np.ndarray, np.ndarray]
"""Rows whose neighbours are looked for, and the other rows that they are looked for among."""


def _unit(read: Rows, rows: np.ndarray) -> Tensor:
    # float32: in bf16, rounding would put the order of near ones at random
    values = torch.from_numpy(read(rows).astype(np.float32, copy=False))
    return functional.normalize(values, dim=1, out=values)


def _everybody(total: int) -> Iterator[Group]:
    yield np.arange(total), np.arange(0)


def _around_cells(read: Rows, total: int, compared: int) -> Iterator[Group]:
    """The images cell by cell, each with the `compared` images that are nearest to the centre of its cell."""
    say(f"{total:,} images are too many to compare all with all: each is compared with {compared:,} near ones")
    cells, near = _cells(read, total, _cell_centers(read, total), compared)
    order, sizes = np.argsort(cells, kind="stable"), np.bincount(cells, minlength=len(near))
    members = np.split(order, np.cumsum(sizes)[:-1])
    for cell in np.flatnonzero(sizes):
        # equal images may all lie in one cell
        for own in np.array_split(members[cell], -(-sizes[cell] // compared)):
            yield own, np.setdiff1d(near[cell], own)


def _cell_centers(read: Rows, total: int) -> Tensor:
    """The centres of about sqrt(N) cells, unit rows, by K-means on a part of the images."""
    count = round(total**0.5)
    drawn = np.random.default_rng(0).choice(total, min(total, ROWS_A_CELL * count), replace=False)
    sample = _unit(read, drawn)
    centers = sample[:count].clone()
    for _ in range(ROUNDS):
        cells = torch.cat([(block @ centers.T).argmax(dim=1) for block in sample.split(8 * BLOCK)])
        # a cell without members keeps its centre
        centers = functional.normalize(centers * 1e-6 + torch.zeros_like(centers).index_add_(0, cells, sample), dim=1)
    return centers


def _cells(read: Rows, total: int, centers: Tensor, compared: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each row [N], and the `compared` rows nearest to each centre [cells, compared]."""
    found, rows = [], torch.zeros(len(centers), 0, dtype=torch.long)
    best = torch.zeros(len(centers), 0)
    with track("finding cells", total=total) as tracker:
        for start in range(0, total, 8 * BLOCK):
            places = torch.arange(start, min(start + 8 * BLOCK, total))
            similarity = _unit(read, places.numpy()) @ centers.T
            found.append(similarity.argmax(dim=1).numpy())
            best = torch.cat([best, similarity.T], dim=1)
            rows = torch.cat([rows, places.expand(len(centers), -1)], dim=1)
            best, chosen = best.topk(min(compared, best.shape[1]), dim=1, sorted=False)
            rows = rows.gather(1, chosen)
            tracker.advance(len(places))
    return np.concatenate(found), rows.numpy()
