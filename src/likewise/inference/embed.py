"""Features and assignments of all images of a store, in a fixed order."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise.assembly import Network
from likewise.data import ImageStore
from likewise.methods import Method, Parts
from likewise.models.folding import folded
from likewise.progress import track
from likewise.training.batches import generator_of
from likewise.training.machine import Machine, keep_freed_memory
from likewise.views import Views, plain_view


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


def embed(network: Network, store: ImageStore, machine: Machine, batch_size: int = 256) -> Embedded:
    """Features and assignments of every image as it is, without augmentation.

    Args:
        network: Trained; it is put into evaluation mode and left there.
        store: The images, at the size and with the channels that the network was trained on.
        machine: How to compute.
        batch_size: Images at a time. In bf16 it may change the last digits.
    """
    # outside of inference mode: weights that were moved in it could not be trained any further
    network.eval().to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if machine.device == "cpu":
        keep_freed_memory()
    backbone = folded(network.backbone, random_images(store, machine))
    collected: list[tuple[np.ndarray, ...]] = []
    with torch.inference_mode(), track("assigning", total=len(store)) as tracker:
        for rows, images in store.batches(batch_size):
            with machine.autocast():
                parts = network.method.parts_of(backbone(plain_view(images.to(machine.device), machine.dtype)))
            collected.append((rows, *_arrays(network.method, parts)))
            tracker.advance(len(rows))
    return _joined(collected)


def random_images(store: ImageStore, machine: Machine) -> Tensor:
    """Two images of noise of the size of the store's, float32 [2, C, S, S] in 0..1."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, store.channels, store.size, store.size, generator=generator).to(machine.device)


def embed_features(
    method: Method, rows: np.ndarray, features: np.ndarray, machine: Machine, batch_size: int = 4096
) -> Embedded:
    """The same from features that are there already.

    Args:
        method: Trained.
        rows: Which rows of the store they belong to, int64 [N].
        features: Of the images as they are under its backbone, float32 [N, F], such as a memory-mapped cache.
        machine: How to compute.
        batch_size: Images at a time.
    """
    method.eval().to(machine.device)
    collected: list[tuple[np.ndarray, ...]] = []
    with torch.inference_mode():
        for start in range(0, len(features), batch_size):
            block = slice(start, start + batch_size)
            with machine.autocast():
                parts = method.parts_of(torch.from_numpy(np.array(features[block])).to(machine.device))
            collected.append((rows[block], *_arrays(method, parts)))
    return _joined(collected)


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
    collected: tuple[list[tuple[np.ndarray, ...]], ...] = ([], [])
    with track("embedding two views", total=2 * len(rows), unit="views") as tracker:
        for step, start in enumerate(range(0, len(rows), 256)):
            block = rows[start : start + 256]
            images, generator = store.read(block).to(machine.device), generator_of(seed, step)
            for side in collected:
                with machine.autocast():
                    parts = network.parts(make(images, generator))
                side.append((block, *_arrays(network.method, parts)))
                tracker.advance(len(block))
    return _joined(collected[0]), _joined(collected[1])


def _arrays(method: Method, parts: Parts) -> tuple[np.ndarray, ...]:
    return tuple(value.float().cpu().numpy() for value in (*parts, method.probabilities(parts.logits)))


def _joined(collected: list[tuple[np.ndarray, ...]]) -> Embedded:
    return Embedded(*(np.concatenate(column) for column in zip(*collected, strict=True)))
