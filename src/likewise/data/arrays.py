"""Sources whose images are one array of equal shapes: .npy and .npz files, NumPy arrays, tensors."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from PIL import Image

from likewise.data.decode import UnreadableImage, to_square
from likewise.data.files import absolute_spec
from likewise.data.source import ImageSource
from likewise.errors import InputError

ALLOWED = (
    "give [N, H, W], [N, H, W, 1], [N, H, W, 3], [N, 1, H, W] or [N, 3, H, W] "
    "as uint8, as uint16, or as floats from 0 to 1"
)
_CHANNELS = (1, 3)
_CHUNK = 256  # images hashed at a time, so that a memory-mapped file is never in memory as a whole


class ArraySource(ImageSource):
    """Images in one array.

    Args:
        images: The pixels, in one of the layouts and types that `ALLOWED` names; never copied as a whole.
        labels: The class of each image, [N], if known.
        class_names: What the classes are called, if known.
        kind: `"array"` or `"set"`.
        spec: What opens it again, empty if nothing does.

    Raises:
        InputError: If the array or the labels are of another layout or type, or a float is outside 0..1.
    """

    def __init__(
        self,
        images: Shaped[np.ndarray, "..."],
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        kind: str = "array",
        spec: str = "",
    ) -> None:
        self.kind, self.spec, self.class_names = kind, spec, class_names
        self.images = channels_last(images)
        self.names = [str(index) for index in range(len(self.images))]
        self._labels = None if labels is None else _checked_labels(labels, len(self.images))
        for index in np.linspace(0, len(self) - 1, min(64, len(self))).astype(int):
            _refuse_range(self.images[index], f"image {index} of the array")

    @property
    def labels(self) -> Int[np.ndarray, " images"] | None:
        return self._labels

    def read(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        return array_to_square(self.images[index], size)

    def shape(self, index: int) -> tuple[int, int]:
        return self.images.shape[2], self.images.shape[1]

    def digest(self) -> str:
        """`"sha256:..."` over the type, the shape with channels last, and all values of the images; no labels."""
        digest = hashlib.sha256(f"{self.images.dtype.str} {self.images.shape}".encode())
        for start in range(0, len(self), _CHUNK):
            digest.update(self.images[start : start + _CHUNK].tobytes())
        return f"sha256:{digest.hexdigest()}"


def open_array(data: object) -> ImageSource | None:
    """The images in a NumPy array, a tensor, a .npy file or a .npz file; None if `data` is none of these.

    A .npy file is memory-mapped. A .npz file holds the images as `images`, or as its only array, and the class of each
    image as `labels` if it is known.

    Raises:
        InputError: If the file cannot be read or its content is no array of images.
    """
    if is_tensor(data):
        return ArraySource(tensor_to_array(data))
    if isinstance(data, np.ndarray):
        return ArraySource(data)
    if not isinstance(data, str | Path) or not os.path.isfile(data):
        return None
    path = Path(data)
    if path.suffix.lower() not in (".npy", ".npz"):
        return None
    images, labels = _load(path)
    try:
        return ArraySource(images, labels, spec=absolute_spec(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def channels_last(images: np.ndarray) -> Shaped[np.ndarray, "images height width channels"]:
    """A view of the images as [N, H, W, 1 or 3].

    Raises:
        InputError: If the layout or the type is not one of those in `ALLOWED`.
    """
    usable = images.dtype in (np.uint8, np.uint16) or images.dtype.kind == "f"
    if images.ndim == 3 and usable and images.shape[-1] in _CHANNELS:
        raise InputError(
            f"an array of shape {list(images.shape)} looks like one image; for one image, give [1, H, W, C]"
        )
    layout = _layout(images.shape)
    if layout is None or not usable or images.size == 0:
        raise InputError(f"an array of shape {list(images.shape)} and type {images.dtype} is not images; {ALLOWED}")
    return images[..., None] if layout == "NHW" else np.moveaxis(images, 1, -1) if layout == "NCHW" else images


def array_to_square(pixels: Shaped[np.ndarray, "height width channels"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """One image as a square of 8-bit RGB: shorter side to `size`, centre cut out.

    Args:
        pixels: [H, W, 1 or 3], uint8, uint16 or floats in 0..1.
        size: Pixels on a side of the result.

    Raises:
        UnreadableImage: If a float is outside 0..1 or not finite.
    """
    pixels = _to_bytes(pixels)
    if pixels.shape[:2] != (size, size):
        return to_square(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), size)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.array(pixels)


def is_tensor(data: object) -> bool:
    """Whether this is a torch tensor, told without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)


def tensor_to_array(tensor: Any) -> np.ndarray:
    """The values of a tensor; shares memory where it is on the CPU."""
    tensor = tensor.detach().cpu()
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _layout(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4 and shape[3] in _CHANNELS:
        return "NHWC"
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return "NCHW"
    return None


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.uint16:
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    try:
        _refuse_range(pixels, "it")
    except InputError as error:
        raise UnreadableImage(str(error)) from None
    return np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)


def _refuse_range(pixels: np.ndarray, what: str) -> None:
    # Written so that a NaN fails it too.
    if pixels.dtype.kind == "f" and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(
            f"{what} holds floats from {pixels.min():g} to {pixels.max():g}; floats must be from 0 to 1, "
            "so divide by the greatest possible value, or undo the normalisation"
        )


def _checked_labels(labels: np.ndarray, count: int) -> Int[np.ndarray, " images"]:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InputError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype} do not fit {count} images; "
            f"give integers [{count}]"
        )
    return labels.astype(np.int64)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        if path.suffix.lower() == ".npy":
            return np.lib.format.open_memmap(path, mode="r"), None
        # Opened here, because NumPy leaves the file open if it turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[_images_key(path, arrays.files)], arrays.get("labels")
    except InputError:
        raise
    except Exception as error:  # NumPy raises many kinds for a broken file, those of zip and pickle among them
        raise InputError(f"{path} cannot be read as an array: {error}") from error


def _images_key(path: Path, keys: list[str]) -> str:
    others = [key for key in keys if key != "labels"]
    if "images" in others:
        return "images"
    if len(others) != 1:
        raise InputError(
            f"{path} holds the arrays {', '.join(keys) or '(none)'}; call the one with the images 'images'"
        )
    return others[0]
