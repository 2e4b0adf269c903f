"""Sets of images that are known by name, one of them built in."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likewise.data.arrays import ArraySource, tensor_to_array
from likewise.data.source import ImageSource
from likewise.errors import RunError, unknown_name
from likewise.folders import cache_folder

BUILT_IN = "fashion-mnist-5k"
_FASHION_CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
# the superclass of each of CIFAR-100's classes, which are in alphabetical order (Krizhevsky, 2009, section 3.2)
_CIFAR_SUPERCLASSES = [
    "aquatic mammals",
    "fish",
    "flowers",
    "food containers",
    "fruit and vegetables",
    "household electrical devices",
    "household furniture",
    "insects",
    "large carnivores",
    "large man-made outdoor things",
    "large natural outdoor scenes",
    "large omnivores and herbivores",
    "medium-sized mammals",
    "non-insect invertebrates",
    "people",
    "reptiles",
    "small mammals",
    "trees",
    "vehicles 1",
    "vehicles 2",
]
# fmt: off
_SUPERCLASS_OF = np.array([
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
])
# fmt: on

Parts = tuple[np.ndarray, np.ndarray, list[str]]  # images, labels, names of the classes


@dataclass(frozen=True)
class NamedSet:
    """One set.

    Attributes:
        description: One line for `likewise list data`.
        splits: What may follow the name after a colon; without one, all of them are joined in this order.
        load: From a split, or "" for a set without any, to its images, labels and class names.
    """

    description: str
    splits: tuple[str, ...]
    load: Callable[[str], Parts]


def open_set(data: object) -> ImageSource | None:
    """The set of this name, such as `"cifar10"` or `"cifar10:test"`; None if `data` names none.

    A name goes before a folder that is called the same: write `./cifar10` for the folder.

    Raises:
        InputError: If the set has no such split.
        RunError: If it is not on this machine and cannot be downloaded.
    """
    name, colon, split = data.partition(":") if isinstance(data, str) else ("", "", "")
    if name not in SETS:
        return None
    known = SETS[name]
    if colon and split not in known.splits:
        raise unknown_name(f"split of {name}", split, known.splits or ["none, it has no splits"])
    parts = [known.load(one) for one in ([split] if colon else known.splits or [""])]
    images = np.concatenate([images for images, _, _ in parts])
    labels = np.concatenate([labels for _, labels, _ in parts])
    return ArraySource(images, labels, parts[0][2], kind="set", spec=str(data))


def _built_in(_: str) -> Parts:
    """500 images of each class, of the 10,000 in the test split of Fashion-MNIST, in their order there.

    Chosen for class c as `rng.permutation(np.flatnonzero(labels == c))[:500]`, with one
    `rng = np.random.default_rng(0)` that goes through the classes 0 to 9. They lie in one PNG, 50 rows of 100 images
    of 28 x 28, whose text field "labels" has one digit an image.
    """
    sheet = files("likewise.data") / "files" / f"{BUILT_IN}.png"
    with sheet.open("rb") as file, Image.open(file, formats=["PNG"]) as image:
        pixels = np.asarray(image)
        labels = image.info["labels"]
    tiles = pixels.reshape(50, 28, 100, 28).swapaxes(1, 2).reshape(5000, 28, 28)
    return tiles, np.frombuffer(labels.encode("ascii"), dtype=np.uint8) - ord("0"), _FASHION_CLASSES


def _torchvision(name: str, open_split: Callable[[Any, str, str], Any]) -> Callable[[str], Parts]:
    """A loader for one of torchvision's sets.

    Args:
        name: What it is called here.
        open_split: From `torchvision.datasets`, the folder for downloads and a split to torchvision's object.
    """

    def load(split: str) -> Parts:
        from torchvision import datasets

        root = _downloads()
        try:
            dataset = open_split(datasets, str(root), split)
        except Exception as error:  # network, disk, archive: torchvision passes on errors of many kinds
            raise RunError(
                f"{name} is not in {root} and could not be downloaded: {error}. Without a network, use {BUILT_IN!r}, "
                "which is built in, or a folder of images of your own; or set LIKEWISE_DATA to a folder that holds it."
            ) from error
        return _pixels(dataset.data), np.asarray(_labels(dataset)), list(dataset.classes)

    return load


def _superclasses(load: Callable[[str], Parts]) -> Callable[[str], Parts]:
    """CIFAR-100 with its 20 superclasses for labels."""

    def coarse(split: str) -> Parts:
        images, labels, _ = load(split)
        return images, _SUPERCLASS_OF[labels], _CIFAR_SUPERCLASSES

    return coarse


def _downloads() -> Path:
    folder = os.environ.get("LIKEWISE_DATA")
    return Path(folder).expanduser() if folder else cache_folder()


def _pixels(data: Any) -> np.ndarray:
    return data if isinstance(data, np.ndarray) else tensor_to_array(data)


def _labels(dataset: Any) -> Any:
    return dataset.targets if hasattr(dataset, "targets") else dataset.labels  # STL10 is the one with `labels`


_SPLITS = ("train", "test")
_CIFAR100 = _torchvision(
    "cifar100", lambda sets, root, split: sets.CIFAR100(root, train=split == "train", download=True)
)

SETS: dict[str, NamedSet] = {
    BUILT_IN: NamedSet("5,000 pieces of clothing in 10 classes, 28 x 28 grey; built in, no download", (), _built_in),
    "fashion-mnist": NamedSet(
        "70,000 pieces of clothing in 10 classes, 28 x 28 grey; downloaded",
        _SPLITS,
        _torchvision(
            "fashion-mnist", lambda sets, root, split: sets.FashionMNIST(root, train=split == "train", download=True)
        ),
    ),
    "cifar10": NamedSet(
        "60,000 photos in 10 classes, 32 x 32; downloaded",
        _SPLITS,
        _torchvision("cifar10", lambda sets, root, split: sets.CIFAR10(root, train=split == "train", download=True)),
    ),
    "cifar100": NamedSet("60,000 photos in 100 classes, 32 x 32; downloaded", _SPLITS, _CIFAR100),
    "cifar100-20": NamedSet(
        "the same photos with their 20 superclasses for labels; downloaded", _SPLITS, _superclasses(_CIFAR100)
    ),
    "stl10": NamedSet(
        "13,000 photos in 10 classes, 96 x 96; downloaded",
        _SPLITS,
        _torchvision("stl10", lambda sets, root, split: sets.STL10(root, split=split, download=True)),
    ),
}
