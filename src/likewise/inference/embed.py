"""Features and assignments of all images of a store, in a fixed order."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likewise.assembly import Network
from likewise.data import ImageStore
from likewise.errors import RunError
from likewise.methods import Method, Parts
from likewise.models.folding import folded
from likewise.progress import say, track
from likewise.runs.large import large_array
from likewise.training.batches import generator_of
from likewise.training.machine import Machine, keep_freed_memory
from likewise.training.rows import Rows
from likewise.views import Views, plain_view

CLOSE_CALLS = 0.025  # of the images are looked at again at once, from the closest call on,
LEAST_CLOSE = 32  # and at least so many, if there are as many: a call on few images is exact
BLOCK = 4096  # rows


class Embedded(NamedTuple):
    """What a network says of the plain images of a store.

    Attributes:
        rows: Which rows of the store could be read, int64 [N].
        features: Output of the backbone, float32 [N, F].
        categorical: Cluster logits, float32 [N, K].
        instance: Instance part, of unit length, float32 [N, D].
        probabilities: Assignment probabilities, float32 [N, K].
    """

    rows: np.ndarray
    features: np.ndarray
    categorical: np.ndarray
    instance: np.ndarray
    probabilities: np.ndarray


def embed(
    network: Network, store: ImageStore, machine: Machine, batch_size: int = 256, label: str = "assigning"
) -> Embedded:
    """Features and assignments of every image as it is, without augmentation.

    Args:
        network: Trained; it is put into evaluation mode and left there.
        store: The images, at the size and with the channels that the network was trained on.
        machine: How to compute.
        batch_size: Images at a time. In bf16 it may change the last digits.
        label: What is said to be going on.
    """
    # outside of inference mode: weights that were moved in it could not be trained any further
    network.eval().to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if machine.device == "cpu":
        keep_freed_memory()
    backbone = folded(network.backbone, random_images(store, machine))
    filled = _Filled(len(store))
    with torch.inference_mode(), track(label, total=len(store)) as tracker:
        for rows, images in store.batches(batch_size):
            with machine.autocast(), machine.in_full():
                parts = network.method.parts_of(backbone(plain_view(images.to(machine.device), machine.dtype)))
            filled.add(rows, parts.features, *_said(network.method, parts))
            tracker.advance(len(rows))
    if not len(filled):
        raise RunError(f"none of the {len(store):,} images can be read any more; is the disk still there?")
    return Embedded(*filled.arrays())


def decide_close_calls(network: Network, store: ImageStore, machine: Machine, embedded: Embedded) -> None:
    """Look again, in float32, at the images that bfloat16 may have put into the wrong one of two clusters; in place.

    Rounding decides only where two clusters are about equally likely. So images are embedded again in the order of
    their margins, the difference of their two largest logits, `CLOSE_CALLS` of them at a time, until a second look
    changes the cluster of none. The clusters are then nearly always those of float32 throughout (docs/speed.md has the
    figures). Nothing happens where all was computed in float32.

    Args:
        network: That said it.
        store: Of what.
        machine: How it was computed.
        embedded: What it said, from `embed` or `embed_features`; changed, but for features in a cache.
    """
    if not machine.bf16 or not len(embedded.rows):
        return
    exact = replace(machine, bf16=False, reason="close calls")
    order = np.argsort(_margins(embedded.categorical), kind="stable")
    step = max(math.ceil(CLOSE_CALLS * len(order)), LEAST_CLOSE)
    for start in range(0, len(order), step):
        close = np.sort(order[start : start + step])
        try:
            again = embed(network, store.part(embedded.rows[close]), exact, label="deciding close calls")
        except RunError as error:  # images that are gone meanwhile are no reason to lose what has been said of all
            say(f"close calls stay as bf16 decided them: {error}")
            return
        places = close[again.rows]
        changed = embedded.categorical[places].argmax(axis=1) != again.categorical.argmax(axis=1)
        for values, better in zip(embedded[1:], again[1:], strict=True):
            # the cached features of a frozen backbone are a file that other runs use as well
            if values.flags.writeable:
                values[places] = better
        if not changed.any():
            return


def _margins(logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    """By how much the largest logit of each row is above the second; block by block, since there may be many."""
    margins = np.empty(len(logits), dtype=np.float32)
    for start in range(0, len(logits), BLOCK):
        second, first = np.partition(logits[start : start + BLOCK], -2, axis=1)[:, -2:].T
        margins[start : start + BLOCK] = first - second
    return margins


def random_images(store: ImageStore, machine: Machine) -> Tensor:
    """Two images of noise of the size of the store's, float32 [2, C, S, S] in 0..1."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, store.channels, store.size, store.size, generator=generator).to(machine.device)


def embed_features(
    method: Method, rows: np.ndarray, features: np.ndarray, machine: Machine, batch_size: int = 4096
) -> Embedded:
    """The same from features that are there already, and that are not copied.

    Args:
        method: Trained.
        rows: Which rows of the store they belong to, int64 [N].
        features: Of the images as they are under its backbone, float32 [N, F], such as a memory-mapped cache.
        machine: How to compute.
        batch_size: Images at a time.
    """
    method.eval().to(machine.device)
    read, filled = Rows(features), _Filled(len(rows))
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            places = np.arange(start, min(start + batch_size, len(rows)))
            with machine.autocast():
                parts = method.parts_of(torch.from_numpy(read(places)).to(machine.device))
            filled.add(places, *_said(method, parts))
    _, *said = filled.arrays()
    return Embedded(rows, features, *said)


@torch.inference_mode()
def embed_views(
    network: Network, store: ImageStore, rows: np.ndarray, make: Views, seed: int, machine: Machine
) -> tuple[Embedded, Embedded]:
    """The same of two augmented views of some images.

    Args:
        network: Trained; it is put into evaluation mode and left there.
        store: The images.
        rows: Which of them, int64 [M].
        make: Draws the views.
        seed: Decides what is drawn.
        machine: How to compute.
    """
    network.eval().to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sides = _Filled(len(rows)), _Filled(len(rows))
    with track("embedding two views", total=2 * len(rows), unit="views") as tracker:
        for step, start in enumerate(range(0, len(rows), 256)):
            block = rows[start : start + 256]
            images, generator = store.read(block).to(machine.device), generator_of(seed, step)
            for side in sides:
                with machine.autocast():
                    parts = network.parts(make(images, generator))
                side.add(block, parts.features, *_said(network.method, parts))
                tracker.advance(len(block))
    return Embedded(*sides[0].arrays()), Embedded(*sides[1].arrays())


def _said(method: Method, parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
    return parts.logits, parts.projections, method.probabilities(parts.logits)


class _Filled:
    """Arrays that are filled block by block: blocks that are joined at the end would take their memory twice.

    Args:
        total: Rows that there may be.
    """

    def __init__(self, total: int) -> None:
        self._rows = np.empty(total, dtype=np.int64)
        self._columns: list[np.ndarray] = []
        self._done = 0

    def add(self, rows: np.ndarray, *values: Tensor) -> None:
        """A block: which rows, and what there is of them."""
        start, self._done = self._done, self._done + len(rows)
        self._columns = self._columns or [large_array((len(self._rows), value.shape[1])) for value in values]
        self._rows[start : self._done] = rows
        for column, value in zip(self._columns, values, strict=True):
            column[start : self._done] = value.float().cpu().numpy()

    def __len__(self) -> int:
        return self._done

    def arrays(self) -> list[np.ndarray]:
        """The rows, and one array for each of the values."""
        return [array[: self._done] for array in (self._rows, *self._columns)]
