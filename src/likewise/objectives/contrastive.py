"""Contrastive losses: pull the two views of an image together, push different images apart."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from likewise.objectives.precision import in_full_precision

ROWS = 1024  # of similarities that are looked at together


@in_full_precision
def info_nce(
    queries: Float[Tensor, "B D"],
    keys: Float[Tensor, "B D"],
    negatives: Float[Tensor, "M D"],
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of queries against their own keys and a common set of negatives.

    Args:
        queries: One embedding for each image, the side that learns.
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
        The mean loss over the 2B queries; ln(2B - 1) where nothing is told apart. It can be differentiated once.

    Source:
        arXiv 2306.05439, Eq. 1 and 2, in-batch frame; Chen et al., SimCLR, arXiv 2002.05709, Eq. 1.
    """
    return _NTXent.apply(torch.cat([first, second]), temperature)  # type: ignore[no-any-return]


class _NTXent(torch.autograd.Function):
    """NT-Xent of 2B stacked views, with its gradient.

    Similarities are symmetric. So nearly half of them are copied instead of computed, and the gradient takes one
    product of (G + G^T) and the views, where autograd would take two, of G and of G^T. It is taken while the
    similarities are there, in blocks of rows, so that they are the only thing of size (2B)^2 in memory.
    """

    @staticmethod
    def forward(ctx: Any, views: Tensor, temperature: float) -> Tensor:  # type: ignore[override]
        count = len(views)
        blocks = [slice(start, start + ROWS) for start in range(0, count, ROWS)]
        scores = views.new_empty(count, count)
        for block in blocks:
            right = slice(block.start, None)
            torch.mm(views[block] / temperature, views[right].T, out=scores[block, right])
            scores[block.stop :, block] = scores[block, block.stop :].T
        twins = torch.arange(count, device=views.device).roll(count // 2)
        positives = scores.gather(1, twins[:, None]).squeeze(1)
        scores.fill_diagonal_(float("-inf"))  # a view is no negative of itself
        totals = torch.cat([scores[block].logsumexp(dim=1) for block in blocks])
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(_gradient(views, scores, totals, twins, blocks) / (temperature * count))
        return (totals - positives).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.saved_tensors[0] * gradients[0], None


def _gradient(views: Tensor, scores: Tensor, totals: Tensor, twins: Tensor, blocks: list[slice]) -> Tensor:
    """That of the sum of the losses, but for the temperature; a score has the probability p_ij as its weight."""
    parts = []
    for block in blocks:
        weights = (scores[block] - totals[block, None]).exp_()
        weights += (scores[block] - totals).exp_()  # p_ji: scores are symmetric
        # before the product: where a twin has nearly all the weight, rounding must see what is left of it
        weights[torch.arange(len(weights), device=views.device), twins[block]] -= 2
        parts.append(weights @ views)
    return torch.cat(parts)


@in_full_precision
def batch_info_nce(queries: Float[Tensor, "B D"], keys: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, ""]:
    """InfoNCE of queries against the keys of their batch: the key of the same row is the positive, B - 1 are negatives.

    Args:
        queries: One embedding for each image, the side that learns.
        keys: The embedding of the other view of each image, row by row.
        temperature: t1 > 0.

    Returns:
        The mean loss over the batch; ln B where nothing is told apart.

    Source:
        arXiv 2306.05439, Eq. 1 and 2, MoCo v3 frame; Chen et al., MoCo v3, arXiv 2104.02057, Algorithm 1.
    """
    own = torch.arange(len(queries), device=queries.device)
    return functional.cross_entropy(queries @ keys.T / temperature, own)
