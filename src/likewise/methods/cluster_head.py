"""What methods share that have a linear head for the clusters on the backbone, and no instance part."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likewise.methods.base import Method, MethodConfig, Parts
from likewise.objectives.precision import raised


class ClusterHead(nn.Module):
    """Backbone and a linear cluster head."""

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(num_features, num_clusters)

    def of(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Cluster logits for features, in at least float32."""
        return raised(self.head(features))


class WithClusterHead(Method):
    """A method whose network is a `ClusterHead`.

    Args:
        backbone: From images [B, C, H, W] to features [B, F].
        num_features: F.
        num_clusters: K, at least 2.
        config: Its settings.
    """

    encoder: ClusterHead
    has_instance_part = False

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: MethodConfig) -> None:
        super().__init__()
        self.config, self.num_clusters = config, num_clusters
        self.encoder = ClusterHead(backbone, num_features, num_clusters)

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        """For an instance part stands the direction of the features."""
        return Parts(features, self.encoder.of(features), functional.normalize(raised(features), dim=1))

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.softmax(raised(logits), dim=1)

    def chance_loss(self, batch_size: int) -> float:
        """ln K, the loss of a guess; there is no contrastive one."""
        return math.log(self.num_clusters)
