"""The table of a clustering: which image is in which cluster, and how sure that is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from likewise.errors import InputError
from likewise.runs.files import csv_writer, replacing
from likewise.runs.large import large_array


@dataclass(frozen=True)
class Assignments:
    """A clustering of N images into K clusters.

    Attributes:
        names: What each image is called [N]: a path relative to its folder, or an index.
        clusters: Hard assignment of each image, int64 [N], in 0..K-1.
        confidence: Largest probability of each image, float32 [N], in (0, 1].
        probabilities: Probability of every cluster, float32 [N, K]; rows sum to 1.
        positions: Place on the 2-D map, float32 [N, 2], or None where no map was made.
    """

    names: list[str]
    clusters: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    positions: np.ndarray | None = None

    @classmethod
    def from_probabilities(cls, names: list[str], probabilities: np.ndarray) -> "Assignments":
        """The assignment of every image to its most probable cluster."""
        probabilities = np.asarray(probabilities, dtype=np.float32)
        return cls(names, probabilities.argmax(1).astype(np.int64), probabilities.max(1), probabilities)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_clusters(self) -> int:
        """K, the number of clusters that were asked for; some may be empty."""
        return self.probabilities.shape[1]

    def by_cluster(self) -> list[np.ndarray]:
        """Rows of the images in each cluster, the most confident first, int64 [n] each."""
        order = np.lexsort((-self.confidence, self.clusters))
        return np.split(order, np.cumsum(np.bincount(self.clusters, minlength=self.num_clusters))[:-1])

    def write(
        self, path: Path, probabilities: bool = False, cluster_names: Mapping[int, str] = MappingProxyType({})
    ) -> None:
        """Write the table as Parquet or as CSV, as the ending of `path` says (anything but `.parquet` is CSV).

        Args:
            path: The file to write or replace.
            probabilities: Give the CSV a column for each cluster; Parquet always holds them.
            cluster_names: Where there are any, a column `name` holds them.
        """
        with replacing(path) as temporary:
            if path.suffix == ".parquet":
                self._write_parquet(temporary, cluster_names)
            else:
                with temporary.open("w", encoding="utf-8", newline="") as file:
                    self.write_csv(file, probabilities, cluster_names)

    def write_csv(
        self, file: IO[str], probabilities: bool = False, cluster_names: Mapping[int, str] = MappingProxyType({})
    ) -> None:
        """Write `image,cluster,confidence` rows; the other arguments are those of `write`."""
        writer = csv_writer(file)
        extra = [f"probability_{k}" for k in range(self.num_clusters)] if probabilities else []
        writer.writerow(["image", "cluster", "confidence", *["name"] * bool(cluster_names), *extra])
        for row, name in enumerate(self.names):
            cluster = int(self.clusters[row])
            called = [cluster_names.get(cluster, "")] if cluster_names else []
            more = [f"{value:.6f}" for value in self.probabilities[row]] if probabilities else []
            writer.writerow([name, cluster, f"{self.confidence[row]:.6f}", *called, *more])

    def _write_parquet(self, path: Path, cluster_names: Mapping[int, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(self.probabilities.reshape(-1))
        columns = {
            "image": pa.array(self.names, pa.string()),
            "cluster": pa.array(self.clusters, pa.int64()),
            "confidence": pa.array(self.confidence, pa.float32()),
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, self.num_clusters),
        }
        if cluster_names:
            columns["name"] = pa.array([cluster_names.get(int(k)) for k in self.clusters], pa.string())
        if self.positions is not None:
            columns["x"], columns["y"] = (pa.array(self.positions[:, axis], pa.float32()) for axis in (0, 1))
        pq.write_table(pa.table(columns), path, row_group_size=max(TOGETHER // self.num_clusters, 1))

    @classmethod
    def read(cls, path: Path) -> "Assignments":
        """Read the table that `write` made as Parquet.

        Raises:
            InputError: If the file is not such a table, or its values cannot be true.
        """
        try:
            table = cls(*_columns(path))
        except _not_a_table() as error:
            raise InputError(
                f"{path} is not a table of assignments ({error}); make it again with `likewise cluster`."
            ) from error
        clusters, top = table.clusters, table.num_clusters - 1
        if len(clusters) and not 0 <= clusters.min() <= clusters.max() <= top:
            raise InputError(f"{path} names clusters outside 0..{top}; the file is damaged.")
        if not all(_within(values, 0, 1) for values in (table.confidence, table.probabilities)):
            raise InputError(f"{path} holds probabilities outside 0..1; the file is damaged.")
        if table.positions is not None and not np.isfinite(table.positions).all():
            raise InputError(f"{path} holds positions that are no numbers; the file is damaged.")
        return table


TOGETHER = 2**24  # probabilities that are encoded, or decoded, at once
MOST_CLUSTERS = 1_000_000
COLUMNS = ("image", "cluster", "confidence", "x", "y")  # beside the probabilities
MOST_NAME_BYTES = 2**31  # of all together: a hundred for each of twenty million images
MOST_THUMBNAIL_BYTES = 2**28  # of all together; a run writes some megabytes


def _not_a_table() -> tuple[type[Exception], ...]:
    """What pyarrow raises for a file that is none of its own, or has other columns than ours."""
    import pyarrow as pa

    ours = (OSError, KeyError, ValueError, AttributeError, TypeError, NotImplementedError, ZeroDivisionError)
    return *ours, pa.ArrowException


def _columns(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # equal names are stored once, and could be more than memory holds when they are not: they stay so until counted
    with pq.ParquetFile(path, read_dictionary=["image"]) as file:
        width = file.schema_arrow.field("probabilities").type.list_size
        if not 1 <= width <= MOST_CLUSTERS:
            raise ValueError(f"probabilities of {width} clusters")
        table = file.read([name for name in COLUMNS if name in file.schema_arrow.names])
        probabilities = _probabilities(file, table.num_rows, width)
    if gaps := [name for name in table.column_names if table[name].null_count]:
        raise ValueError(f"there are gaps in {', '.join(gaps)}")
    image = table["image"].type
    if not (pa.types.is_dictionary(image) and pa.types.is_string(image.value_type)):
        raise TypeError("image must be text")
    if not pa.types.is_integer(table["cluster"].type):
        raise TypeError("cluster must be whole numbers")
    if sum(_bytes_of(chunk) for chunk in table["image"].chunks) > MOST_NAME_BYTES:
        raise ValueError("the names are longer than any that are written")
    names = table["image"].to_pylist()
    clusters = table["cluster"].to_numpy().astype(np.int64)
    confidence = table["confidence"].to_numpy().astype(np.float32)
    positions = None
    if "x" in table.column_names:
        positions = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1).astype(np.float32)
    return names, clusters, confidence, probabilities, positions


def _bytes_of(names: Any) -> int:
    """What names that are stored once each come to, one by one."""
    import pyarrow.compute as pc

    lengths = pc.call_function("binary_length", [names.dictionary]).to_numpy(zero_copy_only=False).astype(np.int64)
    return int(lengths[names.indices.to_numpy(zero_copy_only=False)].sum()) if len(names) else 0


def _probabilities(file: Any, rows: int, width: int) -> np.ndarray:
    """The probabilities of a table, float32 [rows, width]; room is made once it is clear that they are there."""
    batches = partial(file.iter_batches, max(TOGETHER // width, 1), columns=["probabilities"])
    found = 0
    for batch in batches():
        values = batch["probabilities"].flatten()
        # a gap in them takes no place in the file: a small one could ask for any amount of memory
        if batch["probabilities"].null_count or values.null_count or len(values) != batch.num_rows * width:
            raise ValueError("there are gaps in probabilities")
        found += batch.num_rows
    if found != rows:
        raise ValueError(f"probabilities of {found:,} images, and {rows:,} names")
    probabilities, done = large_array((rows, width)), 0
    for batch in batches():
        probabilities[done : done + batch.num_rows] = np.asarray(batch["probabilities"].flatten()).reshape(-1, width)
        done += batch.num_rows
    return probabilities


def _within(values: np.ndarray, low: float, high: float) -> bool:
    """Whether all values are numbers from `low` to `high`, but for rounding."""
    # what is no number is its array's least and largest, and fails both
    return not values.size or bool(values.min() >= low - 1e-3 and values.max() <= high + 1e-3)


def write_thumbnails(path: Path, pictures: Iterable[tuple[int, np.ndarray]]) -> None:
    """Write small pictures of some rows of the table, as JPEG bytes in a Parquet file.

    Args:
        path: The file to write.
        pictures: A row of the assignments and the pixels of its image, uint8 [H, W, C], one after the other.
    """
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows: list[int] = []
    encoded: list[bytes] = []
    for row, image in pictures:
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "JPEG", quality=82)
        rows.append(row)
        encoded.append(buffer.getvalue())
    table = pa.table({"row": pa.array(rows, pa.int64()), "jpeg": pa.array(encoded, pa.binary())})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def read_thumbnails(path: Path) -> dict[int, bytes]:
    """The JPEG bytes of each row that has a picture. They come from a file: decode them before trusting them.

    Raises:
        InputError: If the file is not such a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pictures: dict[int, bytes] = {}
        total = 0
        # a few at a time: equal pictures are stored once, and could be more than memory holds when they are not
        for table in pq.ParquetFile(path).iter_batches(64, columns=["row", "jpeg"]):
            if not (pa.types.is_integer(table["row"].type) and pa.types.is_binary(table["jpeg"].type)):
                raise TypeError("row must be whole numbers and jpeg bytes")
            if table["row"].null_count or table["jpeg"].null_count:
                raise ValueError("there are gaps")
            total += table["jpeg"].nbytes
            if total > MOST_THUMBNAIL_BYTES:
                raise ValueError("they are larger than any that are written")
            pictures |= zip(table["row"].to_pylist(), table["jpeg"].to_pylist(), strict=True)
        return pictures
    except _not_a_table() as error:
        raise InputError(f"{path} is not a table of thumbnails ({error}); delete it to go on without them.") from error
