"""What a training step is fed with: images of a store, or cached features of a frozen backbone."""

from collections.abc import Generator
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from likewise.data import ImageStore
from likewise.data.store import shuffled_batches
from likewise.views import Views


class Batches(Protocol):
    """Batches whose order depends on seed and epoch alone, and views whose draws depend on seed and step alone.

    So a run that resumes at an epoch needs no state of a random generator to go on as if it had never stopped.
    """

    batch_size: int
    steps_per_epoch: int

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Tensor]:
        """The batches of one pass, raw, without the first `skip`."""
        ...

    def views(self, batch: Tensor, step: int, count: int) -> tuple[Tensor, ...]:
        """`count` views of a raw batch, on its device."""
        ...


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class ImageBatches:
    """Batches of a store's images and augmented views of them.

    Args:
        store: The images.
        views: How to augment them.
        batch_size: B.
        seed: Decides order and augmentation.
    """

    def __init__(self, store: ImageStore, views: Views, batch_size: int, seed: int) -> None:
        self.store, self.make, self.batch_size, self.seed = store, views, batch_size, seed
        self.steps_per_epoch = len(store) // batch_size

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Tensor]:
        yield from self.store.training_batches(self.batch_size, self.seed, epoch, skip)

    def views(self, batch: Tensor, step: int, count: int) -> tuple[Tensor, ...]:
        generator = generator_of(self.seed, step)
        return tuple(self.make(batch, generator) for _ in range(count))


class FeatureBatches:
    """Batches of cached features; the views of an image are different ones of its cached views.

    Args:
        cache: Features of V augmented views of N images, [V, N, F], memory-mapped.
        batch_size: B.
        seed: Decides order and choice of views.
    """

    def __init__(self, cache: np.ndarray, batch_size: int, seed: int) -> None:
        self.cache, self.batch_size, self.seed = cache, batch_size, seed
        self.steps_per_epoch = cache.shape[1] // batch_size

    def epoch(self, epoch: int, skip: int = 0) -> Generator[Tensor]:
        order = shuffled_batches(self.cache.shape[1], self.batch_size, self.seed, epoch)
        for rows in islice(order, skip, None):
            yield torch.from_numpy(np.asarray(rows))

    def views(self, batch: Tensor, step: int, count: int) -> tuple[Tensor, ...]:
        # the first `count` of a random order of the views of each image: never the same view twice, if there are enough
        draws = torch.rand(len(batch), len(self.cache), generator=generator_of(self.seed, step))
        chosen = draws.argsort(dim=1)[:, torch.arange(count) % len(self.cache)].numpy()
        rows = batch.cpu().numpy()
        picked: list[Any] = [self.cache[chosen[:, view], rows] for view in range(count)]
        return tuple(torch.from_numpy(features).float().to(batch.device) for features in picked)
