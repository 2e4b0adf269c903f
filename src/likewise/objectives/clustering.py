"""Losses on cluster logits."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likewise.objectives.precision import in_full_precision


@in_full_precision
def target_cross_entropy(
    targets: Float[Tensor, "B K"], logits: Float[Tensor, "B K"], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy between soft targets and softmax(logits / temperature).

    Args:
        targets: Distributions over clusters; rows sum to 1.
        logits: Normalised cluster logits of the view that learns.
        temperature: t2 > 0, the assignment temperature.

    Returns:
        The mean over the batch; ln K where the predictions are uniform.

    Source:
        arXiv 2306.05439, Eq. 7.
    """
    return -(targets * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean()
