"""SCAN's two terms: neighbours share a cluster, and all clusters are used."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likewise.objectives.precision import in_full_precision


@in_full_precision
def neighbor_consistency(logits: Float[Tensor, "B K"], neighbor_logits: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """How far images are from sharing a cluster with their neighbours.

    Args:
        logits: Cluster logits of each image.
        neighbor_logits: Those of a neighbour of each, row by row.

    Returns:
        -mean log <p(x), p(neighbour)>: 0 where both are surely in one cluster, ln K where either is uniform.

    Source:
        Van Gansbeke et al., SCAN, arXiv 2005.12320, Eq. 2, first term.
    """
    joint = functional.log_softmax(logits, dim=1) + functional.log_softmax(neighbor_logits, dim=1)
    return -joint.logsumexp(dim=1).mean()


@in_full_precision
def assignment_entropy(logits: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """The entropy of the mean assignment of a batch, in nats.

    Args:
        logits: Cluster logits of each image.

    Returns:
        H(mean p), from 0 (all in one cluster) to ln K (clusters evenly used).

    Source:
        Van Gansbeke et al., SCAN, arXiv 2005.12320, Eq. 2, second term, whose negative is minimised there.
    """
    log_mean = functional.log_softmax(logits, dim=1).logsumexp(dim=0) - math.log(len(logits))
    return -(log_mean.exp() * log_mean).sum()
