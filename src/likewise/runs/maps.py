"""Two small maps of the same images: by what they are, and by what makes each of them that image."""

import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likewise.errors import InputError
from likewise.runs.files import replacing

MOST_BYTES = 2**26  # unpacked; `analyze` writes maps of 2,000 images in 50 kB


@dataclass(frozen=True)
class PartMaps:
    """Places of a sample of the images, for each part of the output by itself.

    Attributes:
        rows: Which rows of the assignments they are, int64 [M].
        categorical: Places by z_c, float32 [M, 2].
        instance: Places by z_n, float32 [M, 2].
    """

    rows: np.ndarray
    categorical: np.ndarray
    instance: np.ndarray

    def write(self, path: Path) -> None:
        """Write the maps as an .npz file, without pickle."""
        with replacing(path) as temporary:
            np.savez(temporary, rows=self.rows, categorical=self.categorical, instance=self.instance)

    @classmethod
    def read(cls, path: Path) -> "PartMaps":
        """Read the file that `write` made.

        Raises:
            InputError: If it is not such a file, or its values cannot be true.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                    raise ValueError("they are larger than any that are written")
            # a file of ours: NumPy leaves its own open where the archive is damaged
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                maps = cls(*(np.asarray(arrays[name]) for name in ("rows", "categorical", "instance")))
            if maps.rows.ndim != 1 or maps.rows.dtype.kind not in "iu":
                raise ValueError("rows must be whole numbers")
            for places in (maps.categorical, maps.instance):
                if places.shape != (len(maps.rows), 2) or places.dtype.kind != "f" or not np.isfinite(places).all():
                    raise ValueError("every row must have a place")
        except (OSError, KeyError, ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            again = f"likewise analyze {shlex.quote(str(path.parent))}"
            raise InputError(f"{path} does not hold maps ({error}); make it again with `{again}`.") from error
        return maps
