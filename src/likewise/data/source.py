"""What every source of images has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from likewise.data.decode import UnreadableImage
from likewise.errors import InputError

_SAMPLE = 64  # images whose shape is looked at to choose a size


class ImageSource(ABC):
    """Images that can be read one by one, in a fixed order, by several threads at once.

    Attributes:
        kind: `"folder"`, `"list"`, `"array"`, `"set"` or `"memory"`.
        spec: What `open_source` takes to open it again, an absolute path or the name of a set; empty for what exists
            in memory only.
        names: What each image is called: its path within the folder with `/`, its path as listed, or its number.
        class_names: The names of the classes that `labels` counts, if the source knows them.
    """

    kind: str
    spec: str = ""
    names: Sequence[str]
    class_names: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Int[np.ndarray, " images"] | None:
        """The class of each image, int64 [N], if the source carries it. Training never looks at it."""
        return None

    @abstractmethod
    def read(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """One image as a square of 8-bit RGB: shorter side to `size`, centre cut out.

        Raises:
            UnreadableImage: If it cannot be decoded.
        """

    @abstractmethod
    def shape(self, index: int) -> tuple[int, int]:
        """Width and height of one image in pixels, without decoding it where that is possible.

        Raises:
            UnreadableImage: If that already shows that it cannot be decoded.
        """

    @abstractmethod
    def digest(self) -> str:
        """`"sha256:..."` over the images; each kind of source says what goes in."""

    def in_full(self) -> "ImageSource":
        """The same images, each decoded in full before it is scaled; itself where no decoder scales."""
        return self

    def locate(self, index: int) -> Path | None:
        """The file of one image, None where it has no file of its own."""
        return None

    def typical_side(self) -> int:
        """The median shorter side in pixels, over at most 64 images spread evenly over the source.

        Raises:
            InputError: If none of them can be read.
        """
        sides, reason = [], ""
        for index in np.linspace(0, len(self) - 1, min(_SAMPLE, len(self))).round().astype(int):
            try:
                sides.append(min(self.shape(int(index))))
            except UnreadableImage as error:
                reason = f"{self.names[int(index)]} {error}"
        if not sides:
            raise InputError(f"none of the images can be read, for example {reason}")
        return int(np.median(sides))
