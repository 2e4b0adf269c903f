"""Soft assignment to learnable centres, and what sharpens it."""

import torch
from jaxtyping import Float
from torch import Tensor

from likewise.objectives.precision import in_full_precision


@in_full_precision
def log_student_t(
    features: Float[Tensor, "B F"], centers: Float[Tensor, "K F"], degrees: float = 1.0
) -> Float[Tensor, "B K"]:
    """The logarithm of `student_t`, finite however far the features are from all centres.

    Args:
        features: Output of the backbone, not normalised.
        centers: One point for each cluster, in the same space.
        degrees: a > 0, of freedom; the larger, the faster the probability falls with the distance.

    Returns:
        ln r; rows are log-probabilities.
    """
    # seen from among the centres: the squares of numbers that share a large offset have no digits left for the rest
    origin = centers.detach().mean(dim=0)
    features, centers = features - origin, centers - origin
    # |h - mu|^2 without a tensor of B x K x F; rounding may leave it just below zero
    products = features @ centers.T
    squares = features.square().sum(dim=1, keepdim=True) - 2 * products + centers.square().sum(dim=1)
    kernel = -(degrees + 1) / 2 * torch.log1p(squares.clamp_min(0) / degrees)
    return kernel.log_softmax(dim=1)


def student_t(
    features: Float[Tensor, "B F"], centers: Float[Tensor, "K F"], degrees: float = 1.0
) -> Float[Tensor, "B K"]:
    """How probable each cluster is for each image: Student's t-distribution around the centres.

    Args:
        features: Output of the backbone, not normalised.
        centers: One point for each cluster, in the same space.
        degrees: a > 0, of freedom.

    Returns:
        r_ik = (1 + |h_i - mu_k|^2 / a)^(-(a + 1) / 2), normalised over the clusters; at least float32.

    Source:
        arXiv 2109.12714, centre predictor; Xie et al., DEC, arXiv 1511.06335, Eq. 1.

    Example:
        >>> student_t(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
        tensor([[0.6667, 0.3333],
                [0.2857, 0.7143]])
    """
    return log_student_t(features, centers, degrees).exp()


@torch.no_grad()
@in_full_precision
def target_distribution(assignments: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Sharper assignments that the present ones are drawn to: squared, and weighed down where a cluster is large.

    Args:
        assignments: r, distributions over clusters.

    Returns:
        t_ik = (r_ik^2 / sum_i r_ik), normalised over the clusters. No gradient. A cluster that nothing is assigned to
        stays so.

    Source:
        arXiv 2109.12714, clustering loss; Xie et al., DEC, arXiv 1511.06335, Eq. 3.

    Example:
        >>> target_distribution(torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
        tensor([[0.9000, 0.1000],
                [0.1000, 0.9000]])
    """
    tiny = torch.finfo(assignments.dtype).tiny
    weights = assignments.square() / assignments.sum(dim=0).clamp_min(tiny)
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(tiny)


@in_full_precision
def kl_divergence(targets: Float[Tensor, "B K"], log_assignments: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """How far assignments are from their targets: sum_k t_ik ln(t_ik / r_ik), the mean over the rows.

    Args:
        targets: t, distributions over clusters.
        log_assignments: ln r, of the side that learns, such as `log_student_t`: r itself may be too small for a number,
            and has no gradient then.

    Returns:
        At least 0, and 0 where both are equal. A target of 0 counts nothing.

    Source:
        arXiv 2109.12714, clustering loss and anchor loss.
    """
    return (torch.xlogy(targets, targets) - targets * log_assignments).sum(dim=1).mean()
