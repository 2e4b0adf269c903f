"""What a training step is fed with: images of a store, or cached features of a frozen backbone."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from likewise.data import ImageStore
from likewise.data.store import shuffled_batches
from likewise.methods.base import View
from likewise.ranks import rank, world_size
from likewise.training.rows import Rows
from likewise.views import Views, plain_view

TOGETHER = 256  # images that pass a frozen backbone at once

Batch = tuple[Tensor, ...]
"""Images (or rows of cached features), and with neighbours as positives, an image near to each of them."""


class Batches(Protocol):
    """Batches whose order depends on seed and epoch alone, and views whose draws depend on seed and step alone.

    So a run that resumes at an epoch needs no state of a random generator to go on as if it had never stopped. Where
    several processes train together, each gets its share of every batch.
    """

    batch_size: int
    steps_per_epoch: int

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Batch]:
        """The batches of one pass, raw, without the first `skip`."""
        ...

    def views(self, batch: Batch, step: int, kinds: Sequence[View]) -> tuple[Tensor, ...]:
        """Views of a raw batch, on its device, in the order of `kinds`."""
        ...


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, for this process."""
    place = [seed, step] if rank() == 0 else [seed, step, rank()]
    state = np.random.SeedSequence(place).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def seed_noise(seed: int, step: int) -> None:
    """Let what a network draws by itself in a step, such as dropout, be the same in every run and after a resume.

    It comes from torch's global generator, which has no other user in a training.
    """
    state = np.random.SeedSequence([seed, step], spawn_key=(rank(),)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(state >> np.uint64(1)))


class Neighbors(NamedTuple):
    """Positives that are other images: one of the nearest ones of each image stands in for it in its second view.

    Attributes:
        nearest: The k nearest images of each image, rows [N, k]; the image itself is not among them.
        seed: Decides which of them, anew in every epoch.
    """

    nearest: Int[np.ndarray, "N k"]
    seed: int

    def drawn(self, epoch: int) -> Int[np.ndarray, " N"]:
        """One neighbour of each image."""
        count, k = self.nearest.shape
        # raw numbers of Philox are the same in all versions of NumPy
        raw = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64), counter=1).random_raw(count)
        return self.nearest[np.arange(count), (raw % np.uint64(k)).astype(np.int64)]


def _shares(neighbors: Neighbors | None, epoch: int) -> list[Callable[[np.ndarray], np.ndarray]]:
    """From the rows of a batch to those that this process reads: its share of them, and their neighbours."""
    own = slice(rank(), None, world_size())
    if neighbors is None:
        return [lambda rows: rows[own]]
    partners = neighbors.drawn(epoch)
    return [lambda rows: rows[own], lambda rows: partners[rows[own]]]


class ImageBatches:
    """Batches of a store's images and augmented views of them.

    Args:
        store: The images.
        views: How to augment them.
        batch_size: B, over all processes.
        seed: Decides order and augmentation.
        neighbors: Where positives are other images.
    """

    def __init__(
        self, store: ImageStore, views: Views, batch_size: int, seed: int, neighbors: Neighbors | None = None
    ) -> None:
        self.store, self.make, self.batch_size, self.seed = store, views, batch_size, seed
        self.neighbors = neighbors
        self.steps_per_epoch = len(store) // batch_size

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Batch]:
        with ExitStack() as stack:
            sides = [
                stack.enter_context(
                    closing(self.store.training_batches(self.batch_size, self.seed, epoch, skip, share))
                )
                for share in _shares(self.neighbors, epoch)
            ]
            yield from zip(*sides, strict=True)

    def views(self, batch: Batch, step: int, kinds: Sequence[View]) -> tuple[Tensor, ...]:
        generator, made, images = generator_of(self.seed, step), [], batch[0]
        for kind in kinds:
            if kind == "plain":
                made.append(plain_view(images, self.make.dtype))
            else:
                made.append(self.make(images, generator))
                images = batch[-1]  # every augmented view after the first is of the neighbour, if there is one
        return tuple(made)


class LabelledBatches:
    """The batches of others with the labels of their images, for an upper bound.

    Where images are decoded in every epoch and one can no longer be read, the one that stands in for it has its label.

    Args:
        batches: Without neighbours.
        labels: Of all their images, in their order.
    """

    def __init__(self, batches: "ImageBatches | FeatureBatches | FreshFeatures", labels: Int[np.ndarray, " N"]) -> None:
        self.batches, self.labels = batches, labels
        self.batch_size, self.steps_per_epoch = batches.batch_size, batches.steps_per_epoch

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Batch]:
        order = shuffled_batches(len(self.labels), self.batch_size, self.batches.seed, epoch)
        (share,) = _shares(None, epoch)
        with closing(self.batches.epoch(epoch, skip)) as batches:
            for batch, rows in zip(batches, islice(order, skip, None), strict=True):
                yield *batch, torch.from_numpy(self.labels[share(rows)])

    def views(self, batch: Batch, step: int, kinds: Sequence[View]) -> tuple[Tensor, ...]:
        return *self.batches.views(batch[:-1], step, kinds), batch[-1]


class FreshFeatures:
    """Features of new views in every step, which go through a frozen backbone each time.

    Args:
        batches: Of images.
        backbone: Frozen, in evaluation mode, on the device that the views will be on.
    """

    def __init__(self, batches: ImageBatches, backbone: nn.Module) -> None:
        self.batches, self.backbone, self.seed = batches, backbone, batches.seed
        self.batch_size, self.steps_per_epoch = batches.batch_size, batches.steps_per_epoch

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Batch]:
        return self.batches.epoch(epoch, skip)

    @torch.no_grad()
    def views(self, batch: Batch, step: int, kinds: Sequence[View]) -> tuple[Tensor, ...]:
        # no gradient flows through it, so that a batch of thousands need not pass at once
        return tuple(
            torch.cat([self.backbone(part).float() for part in view.split(TOGETHER)])
            for view in self.batches.views(batch, step, kinds)
        )


class FeatureBatches:
    """Batches of cached features; the views of an image are different ones of its cached views.

    Args:
        views: Features of V augmented views of N images, [V, N, F]; of a memory-mapped file, only what is used is read.
        plain: Features of the images as they are, [N, F], likewise.
        batch_size: B, over all processes.
        seed: Decides order and choice of views.
        neighbors: Where positives are other images.
    """

    def __init__(
        self, views: np.ndarray, plain: np.ndarray, batch_size: int, seed: int, neighbors: Neighbors | None = None
    ) -> None:
        self.cache, self.plain, self.batch_size, self.seed = Rows(views), Rows(plain), batch_size, seed
        self.neighbors = neighbors
        self.num_views, self.num_images, _ = views.shape
        self.steps_per_epoch = self.num_images // batch_size

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Batch]:
        order = shuffled_batches(self.num_images, self.batch_size, self.seed, epoch)
        shares = _shares(self.neighbors, epoch)
        for rows in islice(order, skip, None):
            yield tuple(torch.from_numpy(np.ascontiguousarray(share(rows))) for share in shares)

    def views(self, batch: Batch, step: int, kinds: Sequence[View]) -> tuple[Tensor, ...]:
        # the first ones of a random order of the views of each image: never the same view twice, if there are enough
        draws = torch.rand(len(batch[0]), self.num_views, generator=generator_of(self.seed, step))
        order = draws.argsort(dim=1).numpy()
        made, rows, drawn = [], batch[0].cpu().numpy(), 0
        for kind in kinds:
            if kind == "plain":
                features = self.plain(rows)
            else:
                features = self.cache(order[:, drawn % self.num_views], rows)
                rows, drawn = batch[-1].cpu().numpy(), drawn + 1
            made.append(torch.from_numpy(features).to(batch[0].device).float())
        return tuple(made)
