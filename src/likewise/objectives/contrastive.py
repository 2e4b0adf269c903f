"""Contrastive losses: pull the two views of an image together, push different images apart."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likewise.objectives.precision import in_full_precision


@in_full_precision
def info_nce(
    queries: Float[Tensor, "B D"],
    keys: Float[Tensor, "B D"],
    negatives: Float[Tensor, "M D"],
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of queries against their own keys and a common set of negatives.

    Args:
        queries: One embedding an image, the side that learns.
        keys: The embedding of the other view of the same image, row by row.
        negatives: Embeddings of other images, such as a queue; M may be 0.
        temperature: t1 > 0; the smaller, the more the hardest negatives count.

    Returns:
        The mean loss over the batch, float32 or float64; ln(M + 1) where nothing is told apart.

    Source:
        arXiv 2306.05439, Eq. 1 and 2 with s_ij = <z_i, k_j>; van den Oord et al., arXiv 1807.03748.
    """
    positive = (queries * keys).sum(dim=1, keepdim=True)
    scores = torch.cat([positive, queries @ negatives.T], dim=1) / temperature
    own = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    return functional.cross_entropy(scores, own)


@in_full_precision
def nt_xent(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, ""]:
    """InfoNCE within a batch: every view is a query, its twin the key, and the other 2B - 2 views are negatives.

    Args:
        first: Embeddings of one view of each image.
        second: Embeddings of the other view, row by row.
        temperature: t1 > 0.

    Returns:
        The mean loss over the 2B queries; ln(2B - 1) where nothing is told apart.

    Source:
        arXiv 2306.05439, Eq. 1 and 2, in-batch frame; Chen et al., SimCLR, arXiv 2002.05709, Eq. 1.
    """
    both = torch.cat([first, second])
    scores = both @ both.T / temperature
    scores.fill_diagonal_(float("-inf"))  # a view is no negative of itself
    twin = torch.arange(len(both), device=both.device).roll(len(first))
    return functional.cross_entropy(scores, twin)


@in_full_precision
def batch_info_nce(queries: Float[Tensor, "B D"], keys: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, ""]:
    """InfoNCE of queries against the keys of their batch: the key of the same row is the positive, B - 1 are negatives.

    Args:
        queries: One embedding an image, the side that learns.
        keys: The embedding of the other view of each image, row by row.
        temperature: t1 > 0.

    Returns:
        The mean loss over the batch; ln B where nothing is told apart.

    Source:
        arXiv 2306.05439, Eq. 1 and 2, MoCo v3 frame; Chen et al., MoCo v3, arXiv 2104.02057, Algorithm 1.
    """
    own = torch.arange(len(queries), device=queries.device)
    return functional.cross_entropy(queries @ keys.T / temperature, own)
