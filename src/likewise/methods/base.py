"""What every method offers, and nothing of how it is trained."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class MethodConfig(BaseModel):
    """Settings of a method; unknown names and wrong values are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Parts(NamedTuple):
    """What a network says of a batch of images.

    Attributes:
        features: Output of the backbone [B, F].
        logits: Categorical part [B, K], the cluster logits.
        projections: Instance part [B, D].
    """

    features: Float[Tensor, "B F"]
    logits: Float[Tensor, "B K"]
    projections: Float[Tensor, "B D"]


class Method(nn.Module, ABC):
    """A plain module that trains in a ten-line loop: `training_step`, backward, an optimiser step, `after_step`.

    Attributes:
        backbone: From images [B, C, H, W] in 0..1 (or from cached features) to features [B, F].
        num_views: How many augmented views of each image a training step takes.
    """

    num_views: ClassVar[int] = 2
    backbone: nn.Module

    @abstractmethod
    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            views: `num_views` augmented batches of the same images, row by row.

        Returns:
            `"loss"`, to be minimised; its terms by name; `"logits"` [B, K] without gradient, to watch the clusters.
        """

    @abstractmethod
    def after_step(self) -> None:
        """What follows an optimiser step, such as a queue or a momentum encoder that moves on."""

    @abstractmethod
    def parts(self, images: Tensor) -> Parts:
        """Features, cluster logits and instance part of a batch."""

    @abstractmethod
    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """The assignment probabilities that belong to cluster logits."""

    @abstractmethod
    def chance_loss(self, batch_size: int) -> float:
        """The contrastive loss of a network that tells no images apart, for batches of this size."""

    @abstractmethod
    def inference_state(self) -> dict[str, Tensor]:
        """The weights that `parts` needs, without what only training needs."""

    def embed(self, images: Tensor) -> Float[Tensor, "B F"]:
        """The features of a batch."""
        return self.backbone(images)

    def assign(self, images: Tensor) -> Float[Tensor, "B K"]:
        """The cluster logits of a batch; the cluster of an image is their argmax."""
        return self.parts(images).logits
