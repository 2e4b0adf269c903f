"""The nearest images of each image."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn import functional

from likewise.errors import InputError
from likewise.progress import track

BLOCK = 1024  # rows compared with all others at a time


@torch.inference_mode()
def nearest_images(features: Float[np.ndarray, "N F"], count: int) -> Int[np.ndarray, "N count"]:
    """The `count` nearest other images of each image by the cosine of their features, nearest first.

    Exact, and quadratic in N: 10,000 images of 1,280 features take about a second on two cores, 100,000 two minutes.

    Args:
        features: Of the images as they are.
        count: 1 .. N - 1.

    Raises:
        InputError: If there are too few images.

    Example:
        >>> nearest_images(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], dtype=np.float32), 1).tolist()
        [[1], [0], [1]]
    """
    if not 0 < count < len(features):
        raise InputError(f"{count} neighbours of each of {len(features)} images: there must be more images than that.")
    # float32: in bf16, rounding would put the order of near ones at random
    unit = functional.normalize(torch.from_numpy(np.array(features, dtype=np.float32)), dim=1)
    nearest = np.empty((len(unit), count), dtype=np.int64)
    with track("finding neighbours", total=len(unit)) as tracker:
        for start in range(0, len(unit), BLOCK):
            similarity = unit[start : start + BLOCK] @ unit.T
            rows = torch.arange(len(similarity))
            similarity[rows, start + rows] = -torch.inf  # an image is no neighbour of itself
            nearest[start : start + BLOCK] = similarity.topk(count, dim=1).indices.numpy()
            tracker.advance(len(similarity))
    return nearest
