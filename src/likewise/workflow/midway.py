"""What happens in the middle of a training: looks at it, and what a method wants to see of all images then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from likewise.assembly import Network
from likewise.data import ImageStore
from likewise.inference import Embedded, embed, embed_features
from likewise.inference.cache import CachedFeatures
from likewise.methods import Method
from likewise.training.callbacks import diverged
from likewise.training.machine import Machine

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


def as_tensor(features: np.ndarray) -> torch.Tensor:
    """Features as a tensor, without a copy: torch wants memory that it could write to, and a private map is that."""
    if isinstance(features, np.memmap):
        features = np.load(str(features.filename), mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(features)


@contextmanager
def _modes_kept(network: torch.nn.Module) -> Iterator[None]:
    """What is put into evaluation mode meanwhile goes on as it was."""
    modes = [(module, module.training) for module in network.modules()]
    yield
    for module, mode in modes:
        module.training = mode


def later(
    trained: Method, cached: CachedFeatures | None, store: ImageStore, machine: Machine, learning_rate: float
) -> Callable[[], None]:
    """Lets the method see the features of all images in the middle of its training, if they are numbers still."""

    def prepare() -> None:
        if cached is not None:
            trained.prepare(as_tensor(cached.plain))
            return
        with _modes_kept(trained):
            features = as_tensor(embed(Network(trained, None, "none"), store, machine).features)
        if not bool(features.isfinite().all()):
            raise diverged("features were no longer numbers when clusters were to start from them", learning_rate)
        trained.prepare(features)

    return prepare


def watching(
    observe: Observe, trained: Method, cached: CachedFeatures | None, store: ImageStore, machine: Machine
) -> Callable[[int, float], None]:
    """Shows an observer what the network says of a fixed sample of the images, and leaves the network as it was."""
    count = len(store) if cached is None else len(cached.rows)
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_OBSERVED)).round().astype(np.int64))
    sample = store.part(rows if cached is None else cached.rows[rows])

    def look(step: int, seconds: float) -> None:
        with _modes_kept(trained):
            method = trained.result()
            if cached is None:
                embedded = embed(Network(method, None, "none"), sample, machine)
            else:
                embedded = embed_features(method, np.arange(len(rows)), cached.plain[rows], machine)
        names = [sample.names[row] for row in embedded.rows]
        observe(Glimpse(step, seconds, names, embedded, trained.has_clusters))

    return look
