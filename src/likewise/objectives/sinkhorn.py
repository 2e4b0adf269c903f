"""Balanced soft assignments by optimal transport."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from likewise.objectives.precision import in_full_precision


@torch.no_grad()
@in_full_precision
def sinkhorn(scores: Float[Tensor, "B K"], epsilon: float, iterations: int = 3) -> Float[Tensor, "B K"]:
    """Targets that follow the scores and use every cluster equally often.

    Alternately scales the columns of exp(scores / epsilon) to sum to 1 / K and its rows to sum to 1 / B. All of it
    happens on logarithms, so that no score overflows or vanishes: +-1e4 at epsilon 0.05 is exp(2e5) otherwise.

    Args:
        scores: Similarity of each image to each cluster, such as normalised logits.
        epsilon: Entropic regularisation > 0: small values give nearly hard targets, large ones uniform targets.
        iterations: How often columns and rows are scaled, at least once; rows come last.

    Returns:
        B * Q: one distribution over clusters an image. Rows sum to 1 exactly, columns to about B / K. No gradient.

    Source:
        arXiv 2306.05439, Eq. 6; Cuturi, arXiv 1306.0895; Caron et al., SwAV, arXiv 2006.09882.

    Example:
        >>> scores = torch.tensor([[0.9, 0.8], [0.8, 0.1]])  # both prefer the first cluster, and only one may have it
        >>> sinkhorn(scores, epsilon=0.05).argmax(dim=1).tolist()
        [1, 0]
    """
    log_plan = scores / epsilon
    log_rows, log_columns = math.log(scores.shape[0]), math.log(scores.shape[1])
    for _ in range(iterations):
        log_plan = log_plan - log_plan.logsumexp(dim=0, keepdim=True) - log_columns
        log_plan = log_plan - log_plan.logsumexp(dim=1, keepdim=True) - log_rows
    return (log_plan + log_rows).exp()
