"""Training with labels: not a way to group images, but how well a network could do that was told the answer."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likewise.methods.base import Method, MethodConfig, Parts, Signs, View
from likewise.methods.scan import ClusterHead
from likewise.objectives.precision import raised
from likewise.ranks import gather

UNLABELLED = -1


class Supervised(Method):
    """Cross-entropy with the classes of the images: the upper bound of a comparison.

    It is the one method that sees labels. They come as the last of its views, and only `likewise benchmark` has any.

    Args:
        backbone: From images [B, C, H, W] to features [B, F].
        num_features: F.
        num_clusters: K, at least as many as there are classes.
        config: It has no settings.

    Example:
        >>> method = Supervised(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=MethodConfig())
        >>> out = method.training_step((torch.rand(16, 3, 8, 8), torch.arange(16) % 4))
        >>> out["loss"].backward()
    """

    Config = MethodConfig
    encoder: ClusterHead
    takes_neighbors = False
    supervised = True
    signs = Signs(
        contrastive_term="",
        uniform_term="loss",
        collapsed="Most images may have the same label",
        empty="There may be fewer classes than -k asks for",
        stuck="A lower learning rate helps",
    )

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: MethodConfig) -> None:
        super().__init__()
        self.num_clusters = num_clusters
        self.encoder = ClusterHead(backbone, num_features, num_clusters)

    @property
    def views(self) -> tuple[View, ...]:
        return ("augmented",)

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        images, labels = views
        logits = gather(raised(self.encoder.head(self.backbone(images))))
        labels = gather(labels)
        known = (labels != UNLABELLED).sum().clamp(min=1)  # there may be none in a batch
        loss = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / known
        return {"loss": loss, "logits": logits.detach()}

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        return Parts(features, raised(self.encoder.head(features)), functional.normalize(raised(features), dim=1))

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.softmax(raised(logits), dim=1)

    def chance_loss(self, batch_size: int) -> float:
        """The cross-entropy of a guess; there is no contrastive loss."""
        return math.log(self.num_clusters)
