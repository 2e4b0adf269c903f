"""One image, as it lies on disk, to a square of 8-bit RGB."""

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from likewise.data.quiet import quiet_pillow

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")

# Only these decoders ever see a file: Pillow knows others that start a program (EPS) or open more files.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(ValueError):
    """An image that cannot be decoded; the message is the reason in a few words, without the image's name."""


# a file of a few kB may hold this many pixels; as many threads as there are must not decode such files at once
_MANY_PIXELS = 25_000_000
_one_at_a_time = threading.Lock()


def read_image(
    path_or_bytes: str | os.PathLike[str] | bytes, size: int, scaled: bool = True
) -> UInt8[np.ndarray, "size size 3"]:
    """The image as a square of 8-bit RGB.

    The first frame is turned as its EXIF orientation says, transparency is laid over white, the shorter side is scaled
    to `size` with antialiasing, and the centre is cut out.

    Grey of more than 8 bits is scaled, not clipped: integers from 0..65535, floats from the smallest of 0..1, 0..255
    and 0..65535 that holds them all, and what does not fit from its own least to its own greatest value.

    Args:
        path_or_bytes: A file, or what a file holds.
        size: Pixels on a side of the result.
        scaled: Let the decoder of a JPEG scale it to 1/2, 1/4 or 1/8 where twice `size` is left for antialiasing, which
            is faster and changes pixels by about one level of 255 at most, in the mean.

    Returns:
        The pixels, uint8 [size, size, 3].

    Raises:
        UnreadableImage: If it is missing, cut short, no image, too large, or broken in any other way.
    """
    with _opened(path_or_bytes) as image:
        whole = image.width * image.height
        drafted = image.draft(None, (2 * size, 2 * size)) if scaled else None  # None for other formats than JPEG
        # a progressive JPEG is in memory as a whole before it is scaled
        pixels = whole if image.info.get("progressive") else image.width * image.height
        with _one_at_a_time if pixels > _MANY_PIXELS else nullcontext():
            image.load()
            # what the picture covers: a decoder that scales rounds up to whole pixels
            width, height = drafted[1][2:] if drafted else image.size
            square = _centre_square(_plain_mode(image), size, width, height)
        # Turning a centred square after the crop is the same as before, and turns fewer pixels. `load` comes first
        # because a TIFF is turned by Pillow as it loads, and a PNG may state its orientation after the pixels.
        return _rgb(_upright(square, _orientation(image)))


def image_shape(path_or_bytes: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Width and height as the image is meant to be seen, in pixels, from the header alone.

    Raises:
        UnreadableImage: If there is no header of an image to read.
    """
    with _opened(path_or_bytes) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def to_square(image: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """An image in memory as a square of 8-bit RGB, the same way as `read_image`.

    Raises:
        UnreadableImage: If Pillow cannot convert it.
    """
    with _reasons():
        image.load()
        return _rgb(_upright(_centre_square(_plain_mode(image), size, *image.size), _orientation(image)))


def grey_to_bytes(
    values: Shaped[np.ndarray, "height width"], tops: tuple[int, ...]
) -> UInt8[np.ndarray, "height width"]:
    """Grey values of any range as 0..255.

    Args:
        values: Finite numbers, [H, W].
        tops: Upper ends of the usual ranges, ascending. The first that holds all values is taken to be white and zero
            to be black; values that fit in none of them are stretched between their least and greatest.

    Returns:
        The same picture, uint8 [H, W].

    Raises:
        UnreadableImage: If a value is not finite.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableImage("holds values that are not finite numbers")
    if low >= 0 and high <= tops[-1]:
        low, high = 0.0, float(next(top for top in tops if high <= top))
    scaled = (values.astype(np.float32) - low) * (255.0 / ((high - low) or 1.0))
    return np.rint(scaled).astype(np.uint8)


@contextmanager
def _opened(path_or_bytes: str | os.PathLike[str] | bytes) -> Iterator[Image.Image]:
    with _reasons():
        if isinstance(path_or_bytes, bytes):
            _refuse_empty(len(path_or_bytes))
            file = io.BytesIO(path_or_bytes)
        else:
            _refuse_special(Path(path_or_bytes))
            file = open(path_or_bytes, "rb")  # noqa: SIM115
        with file, Image.open(file, formats=_FORMATS) as image:
            _refuse_empty(min(image.size))
            yield image


@contextmanager
def _reasons() -> Iterator[None]:
    """Turns whatever Pillow raises into an `UnreadableImage`: one odd file must not end a run over a million."""
    try:
        with quiet_pillow():
            yield
    except UnreadableImage:
        raise
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, UnidentifiedImageError):
        return "is not an image in a format that can be read (JPEG, PNG, WebP, BMP, TIFF, GIF)"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "may not be read: permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return "has too many pixels to be decoded safely"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if "truncated" in text.lower():
        return "is cut short"
    return f"is broken ({text.splitlines()[0][:120] if text else type(error).__name__})"


def _refuse_special(path: Path) -> None:
    """Says no to what cannot be an image before it is opened: opening a pipe would wait for ever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImage("is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("is not a regular file")
    _refuse_empty(status.st_size)


def _refuse_empty(length: int) -> None:
    if length == 0:
        raise UnreadableImage("is empty")


def _plain_mode(image: Image.Image) -> Image.Image:
    """The image in one of the modes that scale well: L, RGB, or with alpha LA, RGBA."""
    if image.mode.startswith("I"):  # I;16, and I, as which some 16-bit files come too: a dark one stays dark
        return Image.fromarray(grey_to_bytes(np.asarray(image), (65535,)))
    if image.mode == "F":
        return Image.fromarray(grey_to_bytes(np.asarray(image), (1, 255, 65535)))
    if image.has_transparency_data:
        return image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _centre_square(image: Image.Image, size: int, width: float, height: float) -> Image.Image:
    """Shorter side to `size`, centre cut out; in one step, so that a strip of 1 x 10,000 stays small.

    Width and height are what the picture covers of the image, whose last column and row may be covered in part.
    """
    if image.size == (size, size):
        return image
    side = min(width, height)
    _refuse_empty(int(side))
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata says nothing about the pixels, which are fine
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))
