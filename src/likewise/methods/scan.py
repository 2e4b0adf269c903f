"""SCAN: a cluster head that gives neighbours the same cluster, on features that tell instances apart."""

import torch
from pydantic import Field
from torch import Tensor

from likewise.methods.base import MethodConfig, Signs
from likewise.methods.cluster_head import WithClusterHead
from likewise.objectives import assignment_entropy, neighbor_consistency
from likewise.ranks import gather


class SCANConfig(MethodConfig):
    """Settings of SCAN."""

    entropy_weight: float = Field(
        default=5.0, ge=0, description="lambda, of the entropy that keeps all clusters in use"
    )


class SCAN(WithClusterHead):
    """Semantic clustering by adopting nearest neighbours.

    The second view is of a neighbour of the image. Neighbours come from the features that the training starts with, so
    that these have to mean something: it starts from a run of instance discrimination, or on a frozen backbone.

    Args:
        backbone: From images [B, C, H, W] to features [B, F].
        num_features: F.
        num_clusters: K, at least 2.
        config: Everything else.

    Source:
        Van Gansbeke et al., arXiv 2005.12320, Eq. 2; 20 neighbours are those of its experiments.

    Example:
        >>> from torch import nn
        >>> method = SCAN(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=SCANConfig())
        >>> out = method.training_step((torch.rand(16, 3, 8, 8), torch.rand(16, 3, 8, 8)))
        >>> out["loss"].backward()
    """

    Config = SCANConfig
    config: SCANConfig
    neighbors = 20
    heads = 5
    signs = Signs(
        contrastive_term="",
        uniform_term="consistency_loss",
        collapsed="A higher method.settings.entropy_weight keeps them balanced",
        stuck="A higher learning rate, or a longer start run, helps",
    )

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        # one pass for both views, so that batch norm sees both alike
        own, neighbor = map(gather, self.encoder.of(self.backbone(torch.cat(views))).chunk(2))
        consistency, entropy = neighbor_consistency(own, neighbor), assignment_entropy(own)
        return {
            "loss": consistency - self.config.entropy_weight * entropy,
            "consistency_loss": consistency.detach(),
            "assignment_entropy": entropy.detach(),
            "logits": own.detach(),
        }
