"""From a source to a store: read every image once, or look at every header."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from likewise.data.decode import UnreadableImage
from likewise.data.quiet import quiet_pillow
from likewise.data.source import ImageSource
from likewise.data.store import CHUNK, ImageStore, Skipped, to_channels
from likewise.data.threads import default_workers, ordered_map
from likewise.errors import InputError
from likewise.progress import say, track


def load_images(
    source: ImageSource,
    size: int,
    *,
    memory_bytes: int = 2 << 30,
    workers: int | None = None,
    strict: bool = False,
    channels: int | None = None,
    scaled_decoding: bool = True,
) -> ImageStore:
    """The images of a source, ready to be read in batches.

    They are decoded once and kept if N x C x size x size bytes are within `memory_bytes`, where C is 3 unless one
    channel was asked for. Otherwise only their headers are read here, and the images are decoded anew by threads each
    time; a file that is broken behind its header is then found when its turn comes (see `ImageStore`).

    Args:
        source: Where the images come from.
        size: Pixels on a side, 1 or more.
        memory_bytes: What the images may take in memory.
        workers: Threads that decode; None for one a processor, 16 at most.
        strict: Raise at an image that cannot be read, instead of leaving it out.
        channels: 1 or 3. None for 1 if the images are kept in memory and all are grey, else 3. Inference must be given
            the channels that training had.
        scaled_decoding: See `read_image`.

    Returns:
        The store. What was left out is in its `skipped`, and said on standard error.

    Raises:
        InputError: If an argument is out of range, no image can be read, or, when strict, one cannot.
    """
    _check_arguments(size, workers, channels)
    workers = workers or default_workers()
    source = source if scaled_decoding else source.in_full()
    pixels, shape = None, (len(source), channels or 3, size, size)
    if math.prod(shape) <= memory_bytes:
        pixels = np.empty(shape, dtype=np.uint8)
        failed = _read_into(pixels, source, workers, strict)
    else:
        failed = _attempt_all("checking images", source, source.shape, workers, strict)
    skipped = [Skipped(source.names[index], reason) for index, reason in failed.items()]
    if len(skipped) == len(source):
        raise InputError(f"none of the {len(source):,} images can be read; {_examples(skipped)}")
    indices = np.setdiff1d(np.arange(len(source)), np.fromiter(failed, dtype=np.int64))
    if pixels is not None:
        pixels = _without_copies(_closed_up(pixels, indices), channels)
    if skipped:
        say(f"{len(skipped):,} of {len(source):,} images cannot be read and are left out: {_examples(skipped)}")
    used = channels or (3 if pixels is None else pixels.shape[1])
    return ImageStore(source, size, used, indices, pixels, skipped, strict, workers)


def _check_arguments(size: int, workers: int | None, channels: int | None) -> None:
    if size < 1:
        raise InputError(f"the size of the images is {size}; it must be 1 pixel or more")
    if workers is not None and workers < 1:
        raise InputError(f"the number of workers is {workers}; it must be 1 or more")
    if channels not in (None, 1, 3):
        raise InputError(f"the number of channels is {channels}; it must be 1 for grey or 3 for colour")


def _read_into(
    pixels: UInt8[np.ndarray, "images channels size size"], source: ImageSource, workers: int, strict: bool
) -> dict[int, str]:
    channels, size = pixels.shape[1:3]

    def read(index: int) -> None:
        pixels[index] = to_channels(source.read(index, size), channels)

    return _attempt_all("reading images", source, read, workers, strict)


def _attempt_all(
    label: str, source: ImageSource, attempt: Callable[[int], object], workers: int, strict: bool
) -> dict[int, str]:
    """Calls `attempt` for every index, in threads; the indices for which it failed, ascending, and why."""

    def attempt_chunk(indices: range) -> dict[int, str]:
        failed = {}
        for index in indices:
            try:
                attempt(index)
            except UnreadableImage as error:
                failed[index] = str(error)
        return failed

    failed: dict[int, str] = {}
    chunks = [range(start, min(start + CHUNK, len(source))) for start in range(0, len(source), CHUNK)]
    with track(label, total=len(source)) as tracker, quiet_pillow():
        for chunk, result in zip(chunks, ordered_map(attempt_chunk, chunks, workers, ahead=4 * workers), strict=True):
            failed.update(result)
            if strict and failed:
                index, reason = next(iter(failed.items()))
                raise InputError(
                    f"{source.names[index]} {reason}; repair or remove it, or do without --strict (data.strict)"
                )
            tracker.advance(len(chunk))
    return failed


def _closed_up(
    pixels: UInt8[np.ndarray, "images channels size size"], indices: np.ndarray
) -> UInt8[np.ndarray, "rows channels size size"]:
    """The images at `indices`, moved together in place: a copy would take as much memory again."""
    if len(indices) < len(pixels):
        for row, index in enumerate(indices):
            pixels[row] = pixels[index]
    return pixels[: len(indices)]


def _without_copies(
    pixels: UInt8[np.ndarray, "images channels size size"], channels: int | None
) -> UInt8[np.ndarray, "images used size size"]:
    """One channel instead of three equal ones, unless a number of channels was asked for."""
    grey = channels is None and all(_is_grey(pixels[start : start + CHUNK]) for start in range(0, len(pixels), CHUNK))
    return np.ascontiguousarray(pixels[:, :1]) if grey else pixels


def _is_grey(pixels: UInt8[np.ndarray, "images 3 size size"]) -> bool:
    return bool((pixels == pixels[:, :1]).all())


def _examples(skipped: list[Skipped]) -> str:
    shown = ", ".join(f"{image.name} {image.reason}" for image in skipped[:3])
    return shown if len(skipped) <= 3 else f"{shown}, ..."
