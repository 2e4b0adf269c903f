"""Balanced soft assignments by optimal transport."""

import torch
from jaxtyping import Float
from torch import Tensor

from likewise.objectives.precision import in_full_precision

SCALINGS = 3  # of columns and rows between two exponentials


@torch.no_grad()
@in_full_precision
def sinkhorn(scores: Float[Tensor, "B K"], epsilon: float, iterations: int = 3) -> Float[Tensor, "B K"]:
    """Targets that follow the scores and use every cluster equally often.

    Alternately scales the columns of exp(scores / epsilon) to sum to 1 / K and its rows to sum to 1 / B. No score
    overflows or vanishes: +-1e4 at epsilon 0.05 would be exp(2e5), and the largest of each column and of each row is
    taken off the logarithms first.

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
    kernel, rows, columns = _scaled(log_plan, min(SCALINGS, iterations))
    for done in range(SCALINGS, iterations, SCALINGS):
        log_plan += rows.log()[:, None] + columns.log()
        kernel, rows, columns = _scaled(log_plan, min(SCALINGS, iterations - done))
    return kernel.mul_(columns).mul_(rows[:, None] * len(scores))


def _scaled(log_plan: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel [B, K] of a plan, and the factors of rows [B] and columns [K] that scale it.

    There is one exponential for each entry; every scaling is a product of the kernel and a vector. First the largest
    logarithm of each column becomes 0, then that of each row, so that the first sums are 1 or more. From one scaling to
    the next a sum can fall by a factor of B^2 or K^2 at most, for which float32 has room `SCALINGS` times, and what is
    lost below 1e-38 cannot come back to a size that counts.

    Args:
        log_plan: Logarithms, which become those of the kernel.
        iterations: How often columns and rows are scaled, 1..`SCALINGS`.
    """
    log_plan -= log_plan.amax(dim=0)
    shifts = log_plan.amax(dim=1)
    log_plan -= shifts[:, None]
    kernel, rows, columns = log_plan.exp(), shifts.exp(), shifts
    for _ in range(iterations):
        columns = 1 / (rows @ kernel * log_plan.shape[1])
        rows = 1 / (kernel @ columns * log_plan.shape[0])
    return kernel, rows, columns
