"""Which clusters a sample of the images had at times of a training, without any labels."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likewise.evaluation import kmeans
from likewise.runs.files import replacing
from likewise.workflow import Glimpse


@dataclass(frozen=True)
class Moment:
    """The clusters, int64 [M], of the images called `names` after `seconds` of training."""

    step: int
    seconds: float
    names: list[str]
    clusters: np.ndarray


class Snapshots:
    """The moments of one run, in a file `snapshots.npz` of its directory.

    Args:
        folder: The run directory.
        num_clusters: K.
    """

    def __init__(self, folder: Path, num_clusters: int) -> None:
        self.path, self.num_clusters = folder / "snapshots.npz", num_clusters

    def add(self, glimpse: Glimpse) -> None:
        """Keep the clusters of this moment; what a resumed run had seen at later steps is dropped."""
        if glimpse.has_clusters:
            clusters = glimpse.embedded.probabilities.argmax(axis=1)
        elif self.num_clusters <= len(glimpse.names):
            clusters = kmeans(glimpse.embedded.features, self.num_clusters, seed=0)
        else:
            return
        before = [moment for moment in self.read() if moment.step < glimpse.step and moment.names == glimpse.names]
        moments = [*before, Moment(glimpse.step, glimpse.seconds, glimpse.names, clusters)]
        with replacing(self.path) as temporary:
            np.savez(
                temporary,
                steps=np.array([moment.step for moment in moments]),
                seconds=np.array([moment.seconds for moment in moments]),
                clusters=np.stack([moment.clusters for moment in moments]),
                names=np.array(glimpse.names),
            )

    def read(self) -> list[Moment]:
        """All moments, earliest first; none where none can be read."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                columns = (file["steps"].tolist(), file["seconds"].tolist(), file["clusters"])
                names = file["names"].tolist()
            return [Moment(step, seconds, names, clusters) for step, seconds, clusters in zip(*columns, strict=True)]
        # whatever it holds, a file of moments is not worth a training
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
            return []
