"""Losses on cluster logits."""

import torch
from jaxtyping import Bool, Float, Int
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


@in_full_precision
def balanced_cross_entropy(
    logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"], chosen: Bool[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Cross-entropy with hard labels, over the chosen images, in which every cluster weighs the same.

    Each image weighs the inverse of how many chosen images of the batch have its label, so that large clusters do not
    grow at the expense of small ones.

    Args:
        logits: Of the view that learns; softmax(logits) are its probabilities, and so logarithms of probabilities do.
        labels: The cluster that each image shall have, in 0..K-1, without gradient.
        chosen: Which images count.

    Returns:
        The mean over the clusters that have chosen images of the mean over those images; ln K where the predictions are
        uniform, and 0 (with a gradient of 0) where no image is chosen.

    Source:
        Van Gansbeke et al., SCAN, arXiv 2005.12320, section 2.3: self-labelling with a weighted loss.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")
    counted = chosen.to(losses.dtype)
    sizes = torch.zeros_like(logits[0]).scatter_add(0, labels, counted)
    weights = counted / sizes[labels].clamp(min=1)
    # sizes stay on the device: which clusters are there must not make a GPU wait
    return (weights * losses).sum() / (sizes > 0).sum().clamp(min=1)
