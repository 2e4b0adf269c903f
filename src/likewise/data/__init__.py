"""Where images come from, and what they look like in memory.

`open_source` takes whatever holds images and gives an `ImageSource`, which reads one image at a time; `load_images`
gives an `ImageStore`, which training and inference read in batches.

Example:
    >>> store = load_images(open_source("fashion-mnist-5k"), size=28)
    >>> len(store), store.channels, store.read(slice(0, 2)).shape
    (5000, 1, torch.Size([2, 1, 28, 28]))
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from likewise.data.arrays import ArraySource, open_array
from likewise.data.decode import IMAGE_EXTENSIONS, UnreadableImage, image_shape, read_image
from likewise.data.files import LIST_EXTENSIONS, FileSource, open_folder, open_list, printable
from likewise.data.load import load_images
from likewise.data.memory import MemorySource, open_memory
from likewise.data.named import SETS, NamedSet, open_set
from likewise.data.order import shuffled_batches
from likewise.data.source import ImageSource
from likewise.data.store import ImageStore, Skipped
from likewise.errors import InputError

__all__ = [
    "IMAGE_EXTENSIONS",
    "SETS",
    "SOURCES",
    "ArraySource",
    "FileSource",
    "ImageSource",
    "ImageStore",
    "MemorySource",
    "NamedSet",
    "Skipped",
    "SourceKind",
    "UnreadableImage",
    "image_shape",
    "load_images",
    "open_source",
    "read_image",
    "shuffled_batches",
]


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    Attributes:
        description: One line for `likewise list data`.
        open: Gives the source, or None if what it got is not of this kind.
    """

    description: str
    open: Callable[[object], ImageSource | None]


# A new kind of source is one file and one line here. The first one that takes the data has it.
SOURCES: dict[str, SourceKind] = {
    "set": SourceKind("a set of images known by name, such as fashion-mnist-5k or cifar10:test", open_set),
    "folder": SourceKind("a folder of images at any depth: JPEG, PNG, WebP, BMP, TIFF, GIF", open_folder),
    "array": SourceKind("an array of images: .npy, .npz, NumPy array or torch tensor", open_array),
    "list": SourceKind("a text file (.txt, .lst) of paths, one per line; a list of paths; a single image", open_list),
    "memory": SourceKind("a list of Pillow images or arrays, or a map-style torch Dataset", open_memory),
}


def open_source(data: object) -> ImageSource:
    """The source of the images in `data`.

    Args:
        data: A path or a name as `SOURCES` describes them, an array, a tensor, a list, a Dataset, or a source, which is
            given back as it is.

    Raises:
        InputError: If it does not exist, holds no images, or is of a kind that cannot be read.
        RunError: If it is the name of a set that cannot be downloaded.
    """
    if isinstance(data, ImageSource):
        return data
    for kind in SOURCES.values():
        source = kind.open(data)
        if source is not None:
            return source
    raise _unusable(data)


def _unusable(data: object) -> InputError:
    kinds = "; ".join(kind.description for kind in SOURCES.values())
    if not isinstance(data, str | Path):
        return InputError(f"a {type(data).__name__} is no source of images; give {kinds}")
    shown = printable(str(data))
    if os.path.isfile(data):
        endings = ", ".join([".npy", ".npz", *LIST_EXTENSIONS, *IMAGE_EXTENSIONS])
        return InputError(f"{shown} is neither an image nor a list or an array of images; files may be {endings}")
    close = get_close_matches(shown.partition(":")[0], SETS, n=3, cutoff=0.5)
    hint = f" Did you mean the set {' or '.join(close)}?" if close else ""
    return InputError(f"there is no file, folder or set called {shown}.{hint} Sets: {', '.join(SETS)}.")
