"""Pictures inside the page: decoded, made small and encoded anew, so that no byte of a stranger's file gets in."""

import base64
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_BYTES = 1 << 20  # of one thumbnail in the file
_MOST_PIXELS = 1 << 22
SHEET_COLUMNS = 32


class Pictures:
    """The thumbnails of a run, ready to be embedded.

    Args:
        thumbnails: Encoded pictures by row of the assignments, as they were found.
        num_images: How many rows there are; pictures of other rows are left out.
        budget: How many bytes `uri` may hand out in all.
    """

    def __init__(self, thumbnails: dict[int, bytes], num_images: int, budget: int = 13_000_000) -> None:
        self._encoded = {
            row: data
            for row, data in thumbnails.items()
            if isinstance(row, int) and 0 <= row < num_images and isinstance(data, bytes) and len(data) <= _MOST_BYTES
        }
        self._budget = budget
        self.is_exhausted = False

    def __contains__(self, row: int) -> bool:
        return row in self._encoded

    def uri(self, row: int, size: int) -> str | None:
        """The picture of a row as a `data:` URI, at most `size` pixels wide and high.

        Returns:
            None where there is no readable picture, or no room left for it.
        """
        picture = self.decode(row, size)
        if picture is None:
            return None
        picture.thumbnail((size, size))
        text = _data_uri(picture, quality=80)
        if len(text) > self._budget:
            self.is_exhausted = True
            return None
        self._budget -= len(text)
        return text

    def sheets(self, rows: np.ndarray, tile: int) -> tuple[list[str], list[int]]:
        """Sheets of small square pictures, `SHEET_COLUMNS` by `SHEET_COLUMNS` each.

        Args:
            rows: Which rows are wanted, int64 [M].
            tile: Width and height of each picture; a multiple of JPEG's 16-pixel blocks, so that no picture bleeds into
                its neighbour.

        Returns:
            The sheets as `data:` URIs, and for each tile in reading order the index in `rows` that it shows.
        """
        from PIL import Image, ImageOps

        shown: list[int] = []
        sheets: list[Image.Image] = []
        for index, row in enumerate(rows):
            picture = self.decode(int(row), tile)
            if picture is None:
                continue
            place = len(shown) % SHEET_COLUMNS**2
            if place == 0:
                sheets.append(Image.new("RGB", (SHEET_COLUMNS * tile, SHEET_COLUMNS * tile), "#888"))
            corner = (place % SHEET_COLUMNS * tile, place // SHEET_COLUMNS * tile)
            sheets[-1].paste(ImageOps.fit(picture, (tile, tile)), corner)
            shown.append(index)
        if sheets:
            used = -(-((len(shown) - 1) % SHEET_COLUMNS**2 + 1) // SHEET_COLUMNS)
            sheets[-1] = sheets[-1].crop((0, 0, SHEET_COLUMNS * tile, used * tile))
        return [_data_uri(sheet, quality=68) for sheet in sheets], shown

    def decode(self, row: int, size: int) -> "Image | None":
        """The picture of a row in RGB, near `size` pixels or larger; None where it cannot be read."""
        from PIL import Image

        data = self._encoded.get(row)
        if data is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
                if picture.width * picture.height > _MOST_PIXELS:
                    raise ValueError("not a thumbnail")
                picture.draft("RGB", (size, size))
                return picture.convert("RGB")
        except Exception:  # a decoder given hostile bytes can fail in any way; this picture is left out for good
            del self._encoded[row]
            return None


def _data_uri(picture: "Image", quality: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
