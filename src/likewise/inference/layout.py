"""Places on a map: a 2-D layout in which images that are alike lie together."""

from collections.abc import Sequence

import numpy as np

from likewise.progress import track

BLOCK = 1024  # images whose neighbours are looked for together
MOST_LAID_OUT = 10_000  # images whose places are optimised; the others are put among their neighbours


def layout(parts: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """A t-SNE map of features, float32 [N, 2], each axis within -1..1.

    Beyond 10,000 images, t-SNE places a random 10,000 of them, and every other image goes to the mean place of its
    three nearest neighbours among those: the time grows linearly.

    Args:
        parts: Of each image, [N, F] each; their distances add up.
        seed: Decides the map.

    Source:
        van der Maaten and Hinton (2008); the implementation is openTSNE's, with Fourier interpolation.
    """
    count = len(parts[0])
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:MOST_LAID_OUT])
    known = _together(parts, chosen)
    if count < 8 or not np.ptp(known, axis=0).any():  # no neighbourhoods: a circle keeps them apart
        angle = 2 * np.pi * np.arange(count) / max(count, 1)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    placed = _tsne(known, seed)
    if len(chosen) < count:
        placed = _among_neighbours(parts, known, placed)
    placed = placed - (placed.max(0) + placed.min(0)) / 2
    return (placed / np.abs(placed).max().clip(min=1e-9)).astype(np.float32)


def _tsne(features: np.ndarray, seed: int) -> np.ndarray:
    from openTSNE import TSNE

    count = len(features)
    tsne = TSNE(
        perplexity=min(30, (count - 1) // 3),
        early_exaggeration_iter=100,
        n_iter=250,
        negative_gradient_method="fft" if count > 1000 else "bh",
        neighbors="exact" if count <= 1000 else "annoy",
        n_jobs=2 if count > 1000 else 1,  # threads that wait for each other cost more than small maps
        random_state=seed,
    )
    return np.asarray(tsne.fit(np.ascontiguousarray(features, dtype=np.float32)))


def _together(parts: Sequence[np.ndarray], rows: np.ndarray | slice) -> np.ndarray:
    return np.concatenate([part[rows] for part in parts], axis=1)


def _among_neighbours(parts: Sequence[np.ndarray], known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The mean place of the three nearest known images of every image."""
    count, known = len(parts[0]), known.astype(np.float32, copy=False)
    lengths, found = np.square(known).sum(axis=1) / 2, np.empty((count, places.shape[1]), places.dtype)
    with track("placing the other images", total=count) as tracker:
        for start in range(0, count, BLOCK):
            rows = _together(parts, slice(start, start + BLOCK)).astype(np.float32, copy=False)
            # of the squared distance, what an image's own length adds is the same for all
            farness = lengths - rows @ known.T
            found[start : start + len(rows)] = places[np.argpartition(farness, 2, axis=1)[:, :3]].mean(axis=1)
            tracker.advance(len(rows))
    return found
