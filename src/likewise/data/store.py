"""Images of a source at one square size, as training and inference read them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from likewise.data.decode import UnreadableImage
from likewise.data.order import shuffled_batches
from likewise.data.source import ImageSource
from likewise.data.threads import ordered_map
from likewise.errors import RunError
from likewise.progress import say

if TYPE_CHECKING:
    import torch

CHUNK = 16  # images a thread takes at a time: small images would drown in the cost of handing them out one by one
FEW = 256  # images that are decoded anew in seconds
PREFETCHED_BATCHES = 3  # decoded or under way while the batch before is in use, when the images are not in memory

Rows = Int[np.ndarray, " batch"]
_Pixels = UInt8[np.ndarray, "channels size size"]
_Decoded = _Pixels | UnreadableImage


@dataclass(frozen=True)
class Skipped:
    """An image that is left out, and why."""

    name: str
    reason: str


class ImageStore:
    """Images of a source at one square size, either all in memory or decoded each time by threads.

    A row is a position among the images that could be read when the store was made. Should one of them turn unreadable
    later, which only a store that is not in memory notices, then it is reported, added to `skipped`, and

    * `read` raises,
    * `batches` leaves its row out,
    * `training_batches` puts the image before it in the batch into its place,

    except that in a strict store all three raise. Get one from `load_images`.

    Attributes:
        source: Where the images come from.
        size: Pixels on a side.
        channels: 1 or 3.
        indices: Position in the source of each row, int64 [M].
        names: What each row is called, [M].
        skipped: The images that were left out, and why.
        strict: Whether an unreadable image is an error.
        workers: Threads that decode.
    """

    def __init__(
        self,
        source: ImageSource,
        size: int,
        channels: int,
        indices: Rows,
        pixels: UInt8[np.ndarray, "images channels size size"] | None,
        skipped: list[Skipped],
        strict: bool,
        workers: int,
    ) -> None:
        self.source, self.size, self.channels, self.indices = source, size, channels, indices
        self.skipped, self.strict, self.workers = skipped, strict, workers
        self.names: list[str] = [source.names[int(index)] for index in indices]
        self._pixels = _as_tensor(pixels) if pixels is not None else None
        self._near: torch.Tensor | None = None  # a copy beside the processor that trains
        self._failed: set[int] = set()
        self._told = False

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def in_memory(self) -> bool:
        """Whether all images are in memory."""
        return self._pixels is not None

    @property
    def memory_bytes(self) -> int:
        """What the images take, or would take, in memory."""
        return len(self) * self.channels * self.size**2

    def read(self, rows: Rows | slice) -> torch.Tensor:
        """The images of these rows, uint8 [B, C, S, S].

        Args:
            rows: Any rows, or a slice of them. A slice of a store in memory is a view: do not write to it.

        Raises:
            RunError: If one of them can no longer be read.
        """
        if self._pixels is not None:
            return self._pixels[rows] if isinstance(rows, slice) else self._pixels.index_select(0, _as_tensor(rows))
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        results = list(ordered_map(self._decode, rows.tolist(), self.workers, ahead=max(len(rows), 1)))
        for row, result in zip(rows.tolist(), results, strict=True):
            if isinstance(result, UnreadableImage):
                raise self._gone(row, result) from result
        return self._stack([result for result in results if not isinstance(result, UnreadableImage)])

    def read_those_left(self, rows: Rows) -> tuple[Rows, torch.Tensor]:
        """The same of those rows whose images can still be read, and which rows these are; the others are reported.

        Raises:
            RunError: If there are others and the store is strict.
        """
        if self._pixels is not None:
            return rows, self.read(rows)
        results = list(ordered_map(self._decode, rows.tolist(), self.workers, ahead=max(len(rows), 1)))
        readable, images = self._readable(rows, results)
        return rows[readable], self._stack(images)

    def copy_to(self, device: str) -> None:
        """Hold a copy of all images on a device, where `training_batches` takes its batches from then on.

        A step then copies the rows of its batch to the device, and not their pixels.

        Args:
            device: Of torch, such as `"cuda"`. It must have room for `memory_bytes`.

        Raises:
            RunError: If the images are not in memory.
        """
        if self._pixels is None:
            raise RunError("images that are decoded anew in every epoch cannot be held on a device")
        self._near = self._pixels.to(device)

    def part(self, rows: Rows) -> ImageStore:
        """A store of these rows only."""
        pixels = None if self._pixels is None else self.read(rows).numpy()
        return ImageStore(
            self.source, self.size, self.channels, self.indices[rows], pixels, [], self.strict, self.workers
        )

    def batches(self, batch_size: int) -> Iterator[tuple[Rows, torch.Tensor]]:
        """All images in order, in batches; the last one may be smaller.

        Yields:
            The rows of a batch, int64 [B], and their images, uint8 [B, C, S, S]. A row whose image can no longer be
            read is in neither.

        Raises:
            RunError: If an image can no longer be read and the store is strict.
        """
        batches = (np.arange(start, min(start + batch_size, len(self))) for start in range(0, len(self), batch_size))
        if self.in_memory:
            yield from ((rows, self.read(slice(rows[0], rows[-1] + 1))) for rows in batches)
            return
        for rows, results in self._stream(batches, batch_size):
            readable, images = self._readable(rows, results)
            if images:
                yield rows[readable], self._stack(images)

    def training_batches(
        self, batch_size: int, seed: int, epoch: int, skip: int = 0, choose: Callable[[Rows], Rows] = lambda rows: rows
    ) -> Generator[torch.Tensor]:
        """The batches of one epoch, in the order of `shuffled_batches`.

        Args:
            batch_size: Images a batch, 1..M; what does not fill a batch is left out.
            seed: Of the run, 0 or more.
            epoch: From 0.
            skip: Batches to leave out at the start, where an epoch goes on that was interrupted.
            choose: Which rows to read for those of a batch: their neighbours, or the share of one process.

        Yields:
            Images, uint8 [B, C, S, S], always as many as rows were chosen; on the device that has a copy, if one has.

        Raises:
            InputError: If there are fewer images than a batch holds.
            RunError: If an image can no longer be read and the store is strict, or a whole batch cannot.
        """
        order = map(choose, islice(shuffled_batches(len(self), batch_size, seed, epoch), skip, None))
        pixels = self._pixels if self._near is None else self._near
        if pixels is not None:
            yield from (pixels.index_select(0, _as_tensor(rows).to(pixels.device)) for rows in order)
            return
        self._say_what_it_costs()
        for rows, results in self._stream(order, batch_size):
            readable, images = self._readable(rows, results)
            if not images:
                raise RunError(
                    f"none of the {len(rows)} images of a batch can be read any more; is the disk still there?"
                )
            # For each place the last readable one up to it; for places before the first, -1 is the last of the batch.
            stand_in = np.searchsorted(readable, np.arange(len(rows)), side="right") - 1
            yield self._stack([images[place] for place in stand_in])

    def _say_what_it_costs(self) -> None:
        """Tell once that every epoch decodes; a single pass over the images, as in assignment, costs nothing more."""
        if self._told or len(self) <= FEW:
            return
        self._told = True
        needed = self.memory_bytes / 2**30
        say(
            f"{len(self):,} images at {self.size} px need {needed:.3g} GB, more than data.memory_gb allows: they are "
            f"decoded anew in every epoch. If there is memory for them, --set data.memory_gb={math.ceil(needed)} keeps "
            "them."
        )

    def _stream(self, batches: Iterable[Rows], batch_size: int) -> Iterator[tuple[Rows, list[_Decoded]]]:
        """Each batch of rows with what decoding gave; threads work ahead by a fixed number of images."""
        waiting: deque[Rows] = deque()  # batches of which the threads have taken rows
        size = max(1, min(CHUNK, batch_size // self.workers))  # all threads work on the batch that is wanted next

        def taken(rows: Rows) -> list[list[int]]:
            waiting.append(rows)
            return [rows[start : start + size].tolist() for start in range(0, len(rows), size)]

        def decode(rows: list[int]) -> list[_Decoded]:
            return [self._decode(row) for row in rows]

        chunks = chain.from_iterable(map(taken, batches))
        results = ordered_map(decode, chunks, self.workers, ahead=max(1, PREFETCHED_BATCHES * batch_size // size))
        with closing(results):
            for first in results:
                rows = waiting.popleft()
                rest = islice(results, -(-len(rows) // size) - 1)
                yield rows, [*first, *chain.from_iterable(rest)]

    def _decode(self, row: int) -> _Decoded:
        try:
            return to_channels(self.source.read(int(self.indices[row]), self.size), self.channels)
        except UnreadableImage as error:
            return error

    def _readable(self, rows: Rows, results: list[_Decoded]) -> tuple[Int[np.ndarray, " readable"], list[_Pixels]]:
        """The images of a batch that could be read, and their positions in it; reports the others."""
        positions, images = [], []
        for position, (row, result) in enumerate(zip(rows.tolist(), results, strict=True)):
            if not isinstance(result, UnreadableImage):
                positions.append(position)
                images.append(result)
            elif self.strict:
                raise self._gone(row, result) from result
            else:
                self._report(row, result)
        return np.array(positions, dtype=np.int64), images

    def _report(self, row: int, error: UnreadableImage) -> None:
        if row not in self._failed:
            self._failed.add(row)
            self.skipped.append(Skipped(self.names[row], str(error)))
            say(f"{self.names[row]} {error}; going on without it")

    def _gone(self, row: int, error: UnreadableImage) -> RunError:
        return RunError(
            f"{self.names[row]} {error}, though its header could be read at the start; put it back as it was, "
            "or start a new run without it"
        )

    def _stack(self, images: list[_Pixels]) -> torch.Tensor:
        batch = np.empty((len(images), self.channels, self.size, self.size), dtype=np.uint8)
        for position, image in enumerate(images):
            batch[position] = image
        return _as_tensor(batch)


def to_channels(image: UInt8[np.ndarray, "size size 3"], channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """RGB [S, S, 3] as [C, S, S]; for C = 1 the luma of ITU-R 601, which leaves grey as it is."""
    if channels == 3:
        return image.transpose(2, 0, 1)
    return ((image @ np.array([299, 587, 114], dtype=np.uint32) + 500) // 1000).astype(np.uint8)[None]


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)
