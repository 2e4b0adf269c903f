"""Cluster centres in features, for the methods that start or end with K-means."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likewise.evaluation import kmeans

BLOCK = 4096  # rows in float64 at a time


@torch.no_grad()
def kmeans_centers(
    features: Float[Tensor, "N F"], num_clusters: int, seed: int
) -> tuple[Float[Tensor, "K F"], Int[Tensor, " N"]]:
    """K-means on features: the centres, which are the means of their members, and the cluster of each row.

    Args:
        features: Of all images, at least K of them, on the processor.
        num_clusters: K.
        seed: Of the starts.

    Returns:
        Centres in float64, and clusters 0..K-1. Where equal images are too few for K clusters, the mean of all stands
        in for a centre without members.

    Example:
        >>> centers, clusters = kmeans_centers(torch.tensor([[0.0], [2.0], [9.0]]), num_clusters=2, seed=0)
        >>> sorted(centers.flatten().tolist()), bool(clusters[0] == clusters[1])
        ([1.0, 9.0], True)
    """
    clusters = torch.from_numpy(kmeans(features.float().numpy(), num_clusters, seed))
    sizes = torch.bincount(clusters, minlength=num_clusters)[:, None]
    sums = torch.zeros(num_clusters, features.shape[1], dtype=torch.float64)
    for block, own in zip(features.split(BLOCK), clusters.split(BLOCK), strict=True):
        sums.index_add_(0, own, block.double())
    return torch.where(sizes > 0, sums / sizes.clamp_min(1), sums.sum(dim=0) / len(features)), clusters
