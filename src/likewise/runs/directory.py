"""The run directory: the one contract between training and everything that comes after it.

    recipe.toml             everything that decides the result, with the version and the data digest
    model.safetensors       weights
    checkpoints/last.ckpt   while training: what `--resume` continues from
    assignments.parquet     image, cluster, confidence, K probabilities, 2-D position
    features/*.npy          backbone [N, F], categorical [N, K] and instance [N, D] features, memory-mapped
    thumbnails.parquet      small pictures for the report
    maps.npz                2-D positions of a sample in each part by itself, where `analyze` was run
    names.json              names of clusters, where somebody has given any
    skipped.csv             images that could not be read, with the reason
    metrics.json            every number with its protocol
    log.csv                 one row for each logged step; tensorboard/ holds the same as events
    report.html             self-contained, opens offline

Files are written under a temporary name and renamed. `metrics.json` is written last of all that `cluster` writes, so a
directory that has it is complete; one with a recipe but without it is resumable.
"""

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import InputError
from likewise.runs.assignments import Assignments, read_thumbnails
from likewise.runs.files import csv_writer, replacing, require_writable, write_json
from likewise.runs.lock import LOCK
from likewise.runs.maps import PartMaps
from likewise.runs.names import read_names

FEATURES = ("backbone", "categorical", "instance")


class RunDirectory:
    """A run on disk.

    Args:
        path: Where it is or will be; nothing is made before something is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def model_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def assignments_file(self) -> Path:
        return self.path / "assignments.parquet"

    @property
    def thumbnails_file(self) -> Path:
        return self.path / "thumbnails.parquet"

    @property
    def maps_file(self) -> Path:
        return self.path / "maps.npz"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.csv"

    @property
    def skipped_file(self) -> Path:
        return self.path / "skipped.csv"

    @property
    def names_file(self) -> Path:
        return self.path / "names.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def is_started(self) -> bool:
        """Whether a recipe lies here."""
        return self.recipe_file.is_file()

    @property
    def is_complete(self) -> bool:
        """Whether everything that `cluster` writes lies here."""
        return self.metrics_file.is_file() and self.assignments_file.is_file() and self.model_file.is_file()

    def require_complete(self) -> "RunDirectory":
        """This directory, if its run has finished.

        Raises:
            InputError: If there is no run here, or it has not finished.
        """
        if self.is_complete:
            return self
        if self.metrics_file.is_file():  # written last
            lost = self.model_file if not self.model_file.is_file() else self.assignments_file
            raise InputError(f"{lost} is missing: the run had finished; put the file back, or make the run again.")
        place = shlex.quote(str(self.path))
        if self.is_started:
            raise InputError(
                f"the run in {self.path} has not finished; continue it with `likewise cluster --resume -o {place}`."
            )
        raise InputError(f"there is no run in {self.path}; make one with `likewise cluster IMAGES -k 10 -o {place}`.")

    def require_new(self) -> None:
        """Make sure that a new run here would overwrite nothing.

        Raises:
            InputError: If the directory has anything in it, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; choose another place for the run with -o.")
        if self.is_started:
            raise InputError(
                f"{self.path} holds a run already; continue it with --resume, or choose another place with -o."
            )
        if self.path.is_dir() and any(file.name != LOCK for file in self.path.iterdir()):
            raise InputError(f"{self.path} is not empty, and a run overwrites nothing; choose another place with -o.")

    def require_writable(self) -> None:
        """Make sure that the run can be written here, before hours of work are spent on it.

        Raises:
            InputError: If it cannot.
        """
        require_writable(self.recipe_file, "choose another place for the run with -o")

    def require_changeable(self) -> None:
        """Make sure that scores and a report can be added to a finished run.

        Raises:
            InputError: If they cannot, or the run has not finished.
        """
        self.require_complete()
        require_writable(self.metrics_file, "copy the run directory to a place of your own, and use it there")

    def assignments(self) -> Assignments:
        """The table of the clustering."""
        return Assignments.read(self.assignments_file)

    def metrics(self) -> dict[str, Any]:
        """Every number of the run; empty before it has finished.

        Raises:
            InputError: If the file is damaged.
        """
        if not self.metrics_file.is_file():
            return {}
        try:
            metrics = json.loads(self.metrics_file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.metrics_file} is not JSON ({error}); the run directory is damaged.") from error
        if not isinstance(metrics, dict):
            raise InputError(f"{self.metrics_file} does not hold a table of numbers; the run directory is damaged.")
        return metrics

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace every number of the run."""
        write_json(self.metrics_file, metrics)

    def log(self) -> dict[str, np.ndarray]:
        """The training curves: a float64 array for each column of log.csv, NaN where a cell is empty."""
        if not self.log_file.is_file():
            return {}
        with self.log_file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        # a damaged row may be longer than the header; what has no name is left out
        names = [name for name in (rows[0] if rows else []) if name is not None]
        return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}

    def features(self, part: str, count: int | None = None) -> np.ndarray:
        """One part of the features, memory-mapped, float32 [N, dimensions].

        Args:
            part: `"backbone"`, `"categorical"` or `"instance"`.
            count: How many rows there must be, such as those of the assignments.

        Raises:
            InputError: If the file is missing or damaged, or has other rows.
        """
        file = self.path / "features" / f"{part}.npy"
        try:
            features = np.lib.format.open_memmap(file, mode="r")
            if features.ndim != 2 or features.dtype.kind != "f":
                raise ValueError(f"an array of shape {list(features.shape)} and type {features.dtype}")
            if count is not None and len(features) != count:
                raise ValueError(f"{len(features):,} rows for {count:,} images")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{file} cannot be read as features ({error}); the run directory is damaged.") from error
        return features

    def write_features(self, part: str, values: np.ndarray) -> None:
        """Replace one part of the features."""
        with replacing(self.path / "features" / f"{part}.npy") as temporary:
            np.save(temporary, values.astype(np.float32, copy=False), allow_pickle=False)

    def thumbnails(self) -> dict[int, bytes]:
        """JPEG bytes of small pictures, by row of the assignments; not every row need have one."""
        return read_thumbnails(self.thumbnails_file) if self.thumbnails_file.is_file() else {}

    def maps(self) -> PartMaps | None:
        """The maps of each part by itself; None where `analyze` was not run."""
        return PartMaps.read(self.maps_file) if self.maps_file.is_file() else None

    def names(self, num_clusters: int) -> dict[int, str]:
        """Names of clusters, where somebody has given any.

        Raises:
            InputError: If the file is damaged.
        """
        return read_names(self.names_file, num_clusters)

    def skipped(self) -> list[tuple[str, str]]:
        """Name and reason of every image that could not be read."""
        if not self.skipped_file.is_file():
            return []
        with self.skipped_file.open(encoding="utf-8", newline="") as file:
            return [(row.get("image") or "", row.get("reason") or "") for row in csv.DictReader(file)]

    def write_skipped(self, skipped: list[tuple[str, str]]) -> None:
        """Replace the list of images that could not be read."""
        with replacing(self.skipped_file) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv_writer(file)
            writer.writerow(["image", "reason"])
            writer.writerows(skipped)


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
