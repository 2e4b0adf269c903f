"""Instance discrimination and then K-means: what a clustering method has to add something to."""

import math
from collections.abc import Container
from typing import Any, cast

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from likewise.methods.base import Method, Parts, Signs
from likewise.methods.frames import Encoder, FrameConfig, FrameName, build_frame, frame_sizes
from likewise.methods.kmeans import BLOCK, kmeans_centers


class SimCLRConfig(FrameConfig):
    """Settings of SimCLR: those of every frame, for its own."""

    @field_validator("frame")
    @classmethod
    def _own(cls, frame: FrameName) -> FrameName:
        own = cls.model_fields["frame"].default
        if frame != own:  # else a table would name it after what it is not
            raise ValueError(f"this method's frame is {own}; choose the method by the frame, or cdc, which has all")
        return frame

    def without_effect(self) -> set[str]:
        return super().without_effect() | {"unit_logits"}  # there are none


class MoCoV2Config(SimCLRConfig):
    """The same for MoCo v2."""

    frame: FrameName = Field(default="moco-v2", description="see cdc")


class Discriminator(Encoder):
    """Backbone and projection head without a categorical part, and the clusters that are found in the features.

    Attributes:
        centers: K-means centres [K, F]; zeros before there are any.
        spread: The mean squared distance of an image to its own centre; 1 before.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: FrameConfig) -> None:
        super().__init__(backbone, num_features, 0, config)
        self.register_buffer("centers", torch.zeros(num_clusters, num_features))
        self.register_buffer("spread", torch.ones(()))


class SimCLR(Method):
    """Instance discrimination within a batch; its clusters are K-means on the features of the trained backbone.

    Args:
        backbone: From images [B, C, H, W] to features [B, F].
        num_features: F.
        num_clusters: K, at least 2.
        config: Everything else.

    Source:
        Chen et al., arXiv 2002.05709.

    Example:
        >>> method = SimCLR(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=FrameConfig(hidden_dim=32))
        >>> method.training_step((torch.rand(16, 3, 8, 8), torch.rand(16, 3, 8, 8)))["loss"].backward()
        >>> images = torch.rand(20, 3, 8, 8)
        >>> method.conclude(method.embed(images))
        >>> method.assign(images).shape
        torch.Size([20, 4])
    """

    Config: type[FrameConfig] = SimCLRConfig
    concludes = True
    signs = Signs(collapsed="Either they are as alike as that, or K-means needs better features: train longer")

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: FrameConfig) -> None:
        super().__init__()
        self.encoder = Discriminator(backbone, num_features, num_clusters, config)
        self.frame = build_frame(self.encoder, config, num_clusters=0)
        # drawn like the weights: on a frozen backbone, it is all that seeds differ in
        self.kmeans_seed = int(torch.randint(2**31, ()))

    @classmethod
    def suggest(cls, num_clusters: int, frozen: bool, given: dict[str, Any], new: bool = True) -> dict[str, Any]:
        """The temperature of SimCLR's own trainings on CIFAR-10 (its appendix B.9), which is CDC's here as well."""
        return {"temperature": 0.5}

    @classmethod
    def suggest_sizes(cls, num_images: int, batch_size: int, given: dict[str, Any]) -> dict[str, Any]:
        return frame_sizes(cls.Config, num_images, batch_size, given)

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        loss = self.frame(self.encoder, *views).loss
        return {"loss": loss, "contrastive_loss": loss.detach()}

    def after_step(self, progress: float = 0.0) -> None:
        self.frame.after_step(self.encoder, progress)

    @torch.no_grad()
    def conclude(self, features: Float[Tensor, "N F"]) -> None:
        """Find the clusters: K-means on the features, whose centres are the means of their members.

        Args:
            features: Of all images, at least K of them.
        """
        centers, spread = cast(Tensor, self.encoder.centers), cast(Tensor, self.encoder.spread)
        features = features.detach().float().cpu()
        means, clusters = kmeans_centers(features, len(centers), self.kmeans_seed)
        centers.copy_(means)
        pairs = zip(features.split(BLOCK), clusters.split(BLOCK), strict=True)
        own = torch.cat([(block - means[those].float()).square().sum(dim=1) for block, those in pairs]).mean()
        spread.copy_(own if own > 0 else torch.ones(()))

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        """The logits are -|f - center|^2 over the mean squared distance of an image to its own centre."""
        projections = cast(Encoder, self.encoder).of(features).projections
        # not by a matrix product, which cancels digits where features are long and near to each other
        distances = torch.cdist(
            features.float(), cast(Tensor, self.encoder.centers), compute_mode="donot_use_mm_for_euclid_dist"
        )
        return Parts(features, -distances.square() / cast(Tensor, self.encoder.spread), projections)

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """softmax(-|f - center|^2 / spread): an image at its own centre, and far from all others, is sure."""
        return torch.softmax(logits.float(), dim=1)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(1 + self.frame.negatives(batch_size))

    def restart(self, taken: Container[str] = ()) -> None:
        self.frame.restart(self.encoder)


class MoCoV2(SimCLR):
    """The same against a queue of keys from a momentum encoder.

    Source:
        Chen et al., arXiv 2003.04297.
    """

    Config = MoCoV2Config

    @classmethod
    def suggest(cls, num_clusters: int, frozen: bool, given: dict[str, Any], new: bool = True) -> dict[str, Any]:
        """MoCo v2's own temperature (its section 3)."""
        return {"temperature": 0.2}
