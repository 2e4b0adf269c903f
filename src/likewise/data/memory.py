"""Sources whose images are Python objects: a list of pictures, a torch Dataset."""

import hashlib
import threading
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from likewise.data.arrays import array_to_square, channels_last, is_tensor, tensor_to_array
from likewise.data.decode import UnreadableImage, to_square
from likewise.data.source import ImageSource
from likewise.errors import InputError


class MemorySource(ImageSource):
    """Images that are Pillow images, NumPy arrays or tensors, of any shapes.

    Args:
        items: Anything with a length and an item for each number from 0, such as a list or a torch Dataset. An item is
            an image or a pair of image and label. It is fetched by one thread at a time, as few datasets expect more,
            and must be the same each time, so without random augmentation.
    """

    kind = "memory"

    def __init__(self, items: Any) -> None:
        self._items = items
        self._lock = threading.Lock()
        self.names = [str(index) for index in range(len(items))]
        classes = getattr(items, "classes", None)
        self.class_names = [str(name) for name in classes] if isinstance(classes, list | tuple) else None

    @cached_property
    def labels(self) -> Int[np.ndarray, " images"] | None:  # type: ignore[override]
        """The class of each image, int64 [N], if every item has a whole number for a label.

        The attribute `targets` of the items is taken where there is one; else this reads all items once.
        """
        labels = getattr(self._items, "targets", None)
        if labels is None:
            labels = [self._label(index) for index in range(len(self))]
        labels = np.asarray(tensor_to_array(labels) if is_tensor(labels) else labels)
        whole = labels.dtype.kind in "iu" and labels.shape == (len(self),)
        return labels.astype(np.int64) if whole else None

    def read(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        image = self._image(index)
        return to_square(image, size) if isinstance(image, Image.Image) else array_to_square(image, size)

    def shape(self, index: int) -> tuple[int, int]:
        image = self._image(index)
        return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])

    def digest(self) -> str:
        """`"sha256:..."` over the shape and all values of every image, in order; reads all of them once."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            image = self._image(index)
            pixels = np.asarray(image)
            digest.update(f"{getattr(image, 'mode', '')} {pixels.dtype.str} {pixels.shape}".encode())
            digest.update(pixels.tobytes())
        return f"sha256:{digest.hexdigest()}"

    def _item(self, index: int) -> Any:
        try:
            with self._lock:
                return self._items[index]
        except Exception as error:  # somebody else's code; one image that it cannot give is one image less
            raise UnreadableImage(f"cannot be fetched ({type(error).__name__}: {error})") from error

    def _image(self, index: int) -> Image.Image | np.ndarray:
        """One image as a Pillow image or as an array [H, W, 1 or 3]."""
        item = self._item(index)
        image = item[0] if isinstance(item, tuple | list) and item else item
        if is_tensor(image):
            image = tensor_to_array(image)
        if isinstance(image, Image.Image):
            return image
        if not isinstance(image, np.ndarray):
            raise UnreadableImage(f"is a {type(image).__name__}, not a Pillow image, NumPy array or tensor")
        try:
            return channels_last(image[None])[0]
        except InputError:
            raise UnreadableImage(f"is an array of shape {list(image.shape)} and type {image.dtype}") from None

    def _label(self, index: int) -> Any:
        """The label of one item where it is a whole number, else NaN, with which no array of labels is whole."""
        try:
            item = self._item(index)
        except UnreadableImage:
            return np.nan
        label = item[1] if isinstance(item, tuple | list) and len(item) == 2 else None
        if is_tensor(label):
            label = tensor_to_array(label)[()]  # a number, if it is of no dimensions
        return label if isinstance(label, int | np.integer) and not isinstance(label, bool) else np.nan


def open_memory(data: object) -> ImageSource | None:
    """The images of a list or a map-style torch Dataset; None if `data` has no length and items.

    Raises:
        InputError: If it is empty, or its first item is no image.
    """
    if isinstance(data, str | bytes | dict | set) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return None
    source = MemorySource(data)
    if not len(source):
        raise InputError(f"this {type(data).__name__} holds no images")
    try:
        source.shape(0)
    except UnreadableImage as error:
        raise InputError(
            f"the first item of this {type(data).__name__} {error}; items may be paths, Pillow images, "
            "arrays or tensors [H, W], [H, W, 3] or [3, H, W] of uint8, uint16 or floats from 0 to 1, "
            "or pairs of such an image and a label"
        ) from error
    return source
