"""How alike two views of an image are, two images of a class, two of different classes: per part of the output."""

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import Labels, as_features, as_labels, unit_rows

BINS = 50  # of the histograms, over -1..1
BLOCK = 1024

PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "categorical": {"augmented": (0.872, 0.154), "same": (0.504, 0.237), "different": (-0.033, 0.323)},
    "instance": {"augmented": (0.720, 0.199), "same": (0.004, 0.183), "different": (-0.001, 0.167)},
}
"""Mean and standard deviation that arXiv 2306.05439 gives for z_c and z_n, to stand beside ours."""


class SimilarityRow(TypedDict):
    """One kind of pairs; `histogram` holds the share of the pairs in each of `BINS` equal bins over -1..1."""

    kind: str
    pairs: int
    mean: float
    std: float
    histogram: list[float]


def similarity_table(first: ArrayLike, second: ArrayLike, labels: Labels | None = None) -> list[SimilarityRow]:
    """Dot products of two views of the same images, made unit length, by kind of pair.

    All pairs count, one image from the first view and one from the second; in blocks, so that memory grows with M only.

    Args:
        first: One part of the output for one view of each image, [M, D].
        second: The same for another view of the same images, [M, D].
        labels: Their classes [M]; None where they are not known.

    Returns:
        A row for each kind: `augmented` (two views of one image) and, of two different images, `same` and `different`
        class; without labels `other` in place of these two. A kind without a pair has no row.

    Raises:
        InputError: If shapes do not fit or labels are missing.

    Source:
        The similarity statistics of arXiv 2306.05439.

    Example:
        >>> rows = similarity_table([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]])
        >>> [(row["kind"], row["pairs"], row["mean"]) for row in rows]
        [('augmented', 2, 1.0), ('other', 2, 0.0)]
    """
    one, other = unit_rows(as_features(first, "first")), unit_rows(as_features(second, "second"))
    if one.shape != other.shape:
        raise InputError(f"the views have the shapes {one.shape} and {other.shape}; expected the same images twice.")
    classes = None if labels is None else as_labels(labels, "labels")
    if classes is not None and len(classes) != len(one):
        raise InputError(f"{len(one)} images but {len(classes)} labels; expected one label an image.")
    tallies = {kind: _Tally() for kind in ("augmented", *(("other",) if classes is None else ("same", "different")))}
    for start in range(0, len(one), BLOCK):
        similarity = one[start : start + BLOCK] @ other.T
        rows = np.arange(len(similarity))
        tallies["augmented"].add(similarity[rows, start + rows])
        others = np.ones(similarity.shape, dtype=bool)
        others[rows, start + rows] = False
        if classes is None:
            tallies["other"].add(similarity[others])
        else:
            alike = classes[start : start + BLOCK, None] == classes
            tallies["same"].add(similarity[others & alike])
            tallies["different"].add(similarity[others & ~alike])
    return [tally.row(kind) for kind, tally in tallies.items() if tally.pairs]


class _Tally:
    """Moments and histogram of values that come in blocks."""

    def __init__(self) -> None:
        self.pairs, self.sum, self.squares = 0, 0.0, 0.0
        self.counts = np.zeros(BINS, dtype=np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        # rounding may put a product of unit rows just outside
        exact = np.clip(values.astype(np.float64), -1, 1)
        self.pairs += len(exact)
        self.sum += float(exact.sum())
        self.squares += float((exact * exact).sum())
        self.counts += np.histogram(exact, bins=BINS, range=(-1, 1))[0]

    def row(self, kind: str) -> SimilarityRow:
        mean = self.sum / self.pairs
        return {
            "kind": kind,
            "pairs": self.pairs,
            "mean": mean,
            "std": max(self.squares / self.pairs - mean * mean, 0.0) ** 0.5,
            "histogram": (self.counts / self.pairs).tolist(),
        }
