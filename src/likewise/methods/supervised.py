"""Training with labels: not a way to group images, but how well a network could do that was told the answer."""

from torch import Tensor
from torch.nn import functional

from likewise.methods.base import MethodConfig, Signs, View
from likewise.methods.cluster_head import WithClusterHead
from likewise.ranks import gather

UNLABELLED = -1


class Supervised(WithClusterHead):
    """Cross-entropy with the classes of the images: the upper bound of a comparison.

    It is the one method that sees labels. They come as the last of its views, and only `likewise benchmark` has any.

    Args:
        backbone: From images [B, C, H, W] to features [B, F].
        num_features: F.
        num_clusters: K, at least as many as there are classes.
        config: It has no settings.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> method = Supervised(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=MethodConfig())
        >>> out = method.training_step((torch.rand(16, 3, 8, 8), torch.arange(16) % 4))
        >>> out["loss"].backward()
    """

    Config = MethodConfig
    takes_neighbors = False
    supervised = True
    signs = Signs(
        contrastive_term="",
        uniform_term="loss",
        collapsed="Most images may have the same label",
        empty="There may be fewer classes than -k asks for",
        stuck="A lower learning rate helps",
    )

    @property
    def views(self) -> tuple[View, ...]:
        return ("augmented",)

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        images, labels = views
        logits = gather(self.encoder.of(self.backbone(images)))
        labels = gather(labels)
        known = (labels != UNLABELLED).sum().clamp(min=1)  # there may be none in a batch
        loss = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / known
        return {"loss": loss, "logits": logits.detach()}
