"""Looks at all images, or a sample of them, beside the steps of a training: those of the method, and an observer's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from likewise.inference import Embedded, nearest_images, settle_norms
from likewise.methods import Method
from likewise.progress import say
from likewise.training.batches import Neighbors
from likewise.training.callbacks import diverged
from likewise.workflow.material import Material

MOST_OBSERVED = 2000  # images that are assigned each time where a training is observed


@dataclass(frozen=True)
class Glimpse:
    """What a network says of a sample of the images while it is trained.

    Attributes:
        step: Steps so far.
        seconds: Of training so far.
        names: Of the images in the sample.
        embedded: What the network says of them.
        has_clusters: Whether its clusters are its own; otherwise they are found in the features after the training.
    """

    step: int
    seconds: float
    names: list[str]
    embedded: Embedded
    has_clusters: bool


Observe = Callable[[Glimpse], None]
Watch = Callable[[int, float], None]  # is told the step and the seconds of training so far


def as_tensor(features: np.ndarray) -> torch.Tensor:
    """Features as a tensor, without a copy: torch wants memory that it could write to, and a private map is that."""
    if isinstance(features, np.memmap):
        features = np.load(str(features.filename), mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(features)


def beforehand(trained: Method, material: Material) -> Neighbors | None:
    """Let the method see the features of all images if it wants to first, and find the neighbours if they are wanted.

    Both depend on the network before its first step alone, so that a resume finds the same. What the method made of the
    features is in the checkpoint, where there is one already.
    """
    task, recipe, training = material.task, material.task.recipe, material.task.recipe.training
    count = min(training.neighbors or 0, len(task.store) - 1)
    first = trained.prepares_at == 0 and not (task.resume and task.run.checkpoint_file.is_file())
    if not (count or first):
        return None
    trained.to(task.machine.device)
    if recipe.model.from_scratch:
        settle_norms(trained.backbone, task.store, task.machine, training.batch_size, training.seed)
        if first:
            say(
                f"note: {recipe.method.name} starts from the features of an untrained network, which hold hardly "
                "any groups; method.settings.warmup=0.5 lets it learn some first"
            )
    rows, features = material.features(trained)
    if first:
        trained.prepare(as_tensor(features))
    trained.train()
    if not count:
        return None
    nearest = nearest_images(features, min(count, len(features) - 1))
    if len(rows) < len(material):
        # an image that turned unreadable meanwhile is nobody's neighbour, and its own only one
        among = np.tile(np.arange(len(material))[:, None], nearest.shape[1])
        among[rows] = rows[nearest]
        nearest = among
    return Neighbors(nearest, training.seed)


@contextmanager
def _modes_kept(network: torch.nn.Module) -> Iterator[None]:
    """What is put into evaluation mode meanwhile goes on as it was."""
    modes = [(module, module.training) for module in network.modules()]
    yield
    for module, mode in modes:
        module.training = mode


def later(trained: Method, material: Material) -> Callable[[], None]:
    """Lets the method see the features of all images in the middle of its training, if they are numbers still."""

    def prepare() -> None:
        with _modes_kept(trained):
            features = as_tensor(material.features(trained)[1])
        if material.learns and not bool(features.isfinite().all()):
            rate = material.task.recipe.training.learning_rate
            raise diverged("features were no longer numbers when clusters were to start from them", rate)
        trained.prepare(features)

    return prepare


def watching(observe: Observe, trained: Method, material: Material) -> Watch:
    """Shows an observer what the network says of a fixed sample of the images, and leaves the network as it was."""
    sample = material.sample(MOST_OBSERVED)

    def look(step: int, seconds: float) -> None:
        with _modes_kept(trained):
            embedded = sample.embed(trained.result())
        names = [sample.task.store.names[row] for row in embedded.rows]
        observe(Glimpse(step, seconds, names, embedded, trained.has_clusters))

    return look
