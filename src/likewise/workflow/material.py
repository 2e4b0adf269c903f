"""What a training is fed with and read out of: images, or the cached features of a frozen backbone."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from likewise.assembly import Network
from likewise.config import Recipe
from likewise.data import ImageStore
from likewise.inference import Embedded, embed, embed_features
from likewise.inference.cache import CachedFeatures, cached_features
from likewise.inference.embed import random_images
from likewise.methods import Method
from likewise.models import Backbone
from likewise.models.folding import folded
from likewise.runs import RunDirectory
from likewise.training.batches import Batches, FeatureBatches, FreshFeatures, ImageBatches, LabelledBatches, Neighbors
from likewise.training.machine import Machine
from likewise.views import Views


@dataclass(frozen=True)
class Task:
    """What is trained, on which images, how, and where to.

    Attributes:
        recipe: With all decided but the steps of a budget in minutes, which follow in the training.
        store: The images.
        machine: How to compute.
        run: Where to write.
        resume: Whether the last checkpoint of the run is gone on from.
        labels: Of all images of the source, int64, for a supervised upper bound and nothing else.
    """

    recipe: Recipe
    store: ImageStore
    machine: Machine
    run: RunDirectory
    resume: bool = False
    labels: np.ndarray | None = None

    def on(self, rows: Int[np.ndarray, " n"]) -> "Task":
        """The same on some rows of the store."""
        return replace(self, store=self.store.part(rows))


@dataclass(frozen=True)
class OnImages:
    """The images of a task, where the backbone is trained: all is computed with a method as it is when asked.

    Attributes:
        task: Whose images.
        learns: Whether the features are learned, and so change with every step.
    """

    task: Task
    learns: ClassVar[bool] = True

    def __len__(self) -> int:
        """How many images are trained on."""
        return len(self.task.store)

    def features(self, method: Method) -> tuple[Int[np.ndarray, " M"], Float[np.ndarray, "M F"]]:
        """Which images could be read, as rows among those trained on, and the features of these as they are."""
        return self.embed(method)[:2]

    def embed(self, method: Method) -> Embedded:
        """What a method, which is left in evaluation mode, says of all images."""
        return embed(Network(method), self.task.store, self.task.machine)

    def sample(self, most: int) -> "OnImages":
        """At most so many of the images, evenly spread, and always the same ones."""
        return OnImages(self.task.on(_spread(len(self), most)))

    def batches(self, neighbors: Neighbors | None) -> Batches:
        """What the steps of a training are fed with; neighbours are rows among the images trained on."""
        return _labelled(_image_batches(self.task, neighbors), self.task)


@dataclass(frozen=True)
class OnFeatures:
    """The same where the backbone is frozen: what it says is in a cache, and a method is asked for the rest.

    Attributes:
        task: Whose images.
        backbone: For new views in every step, where no views are cached.
        cached: Features of the images that are trained on: all that could be read.
    """

    task: Task
    backbone: Backbone
    cached: CachedFeatures
    learns: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.cached.rows)

    def features(self, method: Method) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, "N F"]]:
        return np.arange(len(self)), self.cached.plain

    def embed(self, method: Method) -> Embedded:
        return embed_features(method, self.cached.rows, self.cached.plain, self.task.machine)

    def sample(self, most: int) -> "OnFeatures":
        rows = _spread(len(self), most)
        cached = CachedFeatures(np.arange(len(rows)), self.cached.plain[rows], self.cached.views[:0])
        return OnFeatures(self.task.on(self.cached.rows[rows]), self.backbone, cached)

    def batches(self, neighbors: Neighbors | None) -> Batches:
        (_, plain, views), training, machine = self.cached, self.task.recipe.training, self.task.machine
        # some may have turned unreadable before their features were computed
        task = self.task if len(self) == len(self.task.store) else self.task.on(self.cached.rows)
        if len(views):
            return _labelled(FeatureBatches(views, plain, training.batch_size, training.seed, neighbors), task)
        images = _image_batches(task, neighbors)
        self.backbone.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return _labelled(FreshFeatures(images, folded(self.backbone, random_images(task.store, machine))), task)


Material = OnImages | OnFeatures
"""Whoever trains, looks or finishes takes either; nobody else asks which of them it is."""


def material_of(task: Task, network: Network) -> Material:
    """What a network is trained on; the features of a frozen backbone are computed now, unless they were before."""
    if network.frozen is None:
        return OnImages(task)
    return OnFeatures(task, network.frozen, cached_features(network.frozen, task.store, task.recipe, task.machine))


def _spread(total: int, most: int) -> Int[np.ndarray, " n"]:
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))


def _image_batches(task: Task, neighbors: Neighbors | None) -> ImageBatches:
    store, machine, training = task.store, task.machine, task.recipe.training
    if store.in_memory and machine.has_room_for(store.memory_bytes):
        store.copy_to(machine.device)
    views = Views(task.recipe.views, store.size, machine.dtype)
    return ImageBatches(store, views, training.batch_size, training.seed, neighbors)


def _labelled(batches: ImageBatches | FeatureBatches | FreshFeatures, task: Task) -> Batches:
    return batches if task.labels is None else LabelledBatches(batches, task.labels[task.store.indices])
