"""The equations: pure functions of tensors, without state, usable in any training loop.

Example:
    >>> import torch
    >>> from likewise.objectives import info_nce, sinkhorn
    >>> targets = sinkhorn(torch.randn(8, 4), epsilon=0.05)
    >>> targets.shape
    torch.Size([8, 4])
"""

from likewise.objectives.centers import kl_divergence, log_student_t, student_t, target_distribution
from likewise.objectives.clustering import balanced_cross_entropy, target_cross_entropy
from likewise.objectives.contrastive import batch_info_nce, info_nce, nt_xent
from likewise.objectives.precision import Products
from likewise.objectives.scan import assignment_entropy, neighbor_consistency
from likewise.objectives.sinkhorn import sinkhorn

__all__ = [
    "Products",
    "assignment_entropy",
    "balanced_cross_entropy",
    "batch_info_nce",
    "info_nce",
    "kl_divergence",
    "log_student_t",
    "neighbor_consistency",
    "nt_xent",
    "sinkhorn",
    "student_t",
    "target_cross_entropy",
    "target_distribution",
]
