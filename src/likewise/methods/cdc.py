"""CDC: one network, whose output is a category and an instance (arXiv 2306.05439)."""

import math
from collections.abc import Container
from typing import Any, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from likewise.methods.base import Method, Parts, Signs
from likewise.methods.frames import Encoder, FrameConfig, build_frame, frame_sizes
from likewise.objectives import sinkhorn, target_cross_entropy

# probability that an image can reach, where t2 is chosen by the number of clusters
SUREST = 0.95
SUREST_FROZEN = 0.8  # better on cached features (docs/log.md)


class CDCConfig(FrameConfig):
    """Settings of CDC, the paper's where it gives them; every ablation of the paper is a setting."""

    assignment_temperature: float = Field(default=0.1, gt=0, description="t2, of the cluster probabilities")
    epsilon: float = Field(
        default=0.05,
        gt=0,
        description="Sinkhorn regularisation of the balanced targets; t2 / 2 in a run that is not told",
    )
    sinkhorn_iterations: int = Field(default=3, ge=1, description="how often Sinkhorn scales columns and rows")
    cluster_weight: float = Field(default=1.0, ge=0, description="lambda, the weight of the cluster loss")
    contrastive_weight: float = Field(default=1.0, ge=0, description="of the contrastive loss; 0: no InfoNCE")
    swap_targets: bool = Field(default=True, description="the targets of one view supervise the other view")
    equipartition: bool = Field(
        default=True, description="balance the targets; otherwise they are the other view's own probabilities"
    )

    def without_effect(self) -> set[str]:
        balancing = set() if self.equipartition and self.cluster_weight else {"epsilon", "sinkhorn_iterations"}
        return super().without_effect() | balancing


class CDC(Method):
    """Contrastive representation disentanglement.

    L = L_con + lambda * L_ce (Eq. 9): a contrastive loss on the joint output and a cross-entropy that makes the
    category of one view predict the balanced Sinkhorn targets of the other.

    Args:
        backbone: From images [B, C, H, W] to features [B, F]; `nn.Identity()` to train on cached features.
        num_features: F.
        num_clusters: K, at least 2.
        config: Everything else.

    Source:
        arXiv 2306.05439.

    Example:
        >>> method = CDC(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=CDCConfig(hidden_dim=32))
        >>> out = method.training_step((torch.rand(16, 3, 8, 8), torch.rand(16, 3, 8, 8)))
        >>> out["loss"].backward()
        >>> method.assign(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 4])
    """

    Config = CDCConfig
    heads = 5

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: CDCConfig) -> None:
        super().__init__()
        self.config, self.num_clusters = config, num_clusters
        self.encoder = Encoder(backbone, num_features, num_clusters, config)
        self.frame = build_frame(self.encoder, config, num_clusters)
        if not config.contrastive_weight:
            self.signs = Signs(contrastive_term="")  # a loss without weight need not fall

    @classmethod
    def suggest(cls, num_clusters: int, frozen: bool, given: dict[str, Any], new: bool = True) -> dict[str, Any]:
        """Softer losses than the paper's, which short runs and frozen backbones need (docs/log.md has the figures).

        A hard assignment of a small batch is mostly noise, and a head that follows it never gets away from it. How hard
        it is depends on K as well: t2 is chosen so that a probability can reach `SUREST` with any number of clusters,
        or on a frozen backbone `SUREST_FROZEN`.
        Targets softer than the predictions do not work: epsilon goes with t2.
        """
        surest = SUREST_FROZEN if frozen else SUREST
        sharpest = round(sharpest_temperature(num_clusters, surest), 3)
        temperature = given.get("assignment_temperature", sharpest)
        return {"temperature": 0.5, "assignment_temperature": temperature, "epsilon": round(temperature / 2, 6)}

    @classmethod
    def suggest_sizes(cls, num_images: int, batch_size: int, given: dict[str, Any]) -> dict[str, Any]:
        return frame_sizes(cls.Config, num_images, batch_size, given)

    @classmethod
    def renews(cls, settings: dict[str, Any]) -> bool:
        """In the in-batch frame; a momentum encoder needs more steps than a new head has."""
        return settings.get("frame", "in-batch") == "in-batch"

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        contrastive, swapped = self.frame(self.encoder, *views)
        cluster = torch.stack([self._cluster_loss(scores, logits) for scores, logits in swapped]).mean()
        return {
            "loss": self.config.contrastive_weight * contrastive + self.config.cluster_weight * cluster,
            "contrastive_loss": contrastive.detach(),
            "cluster_loss": cluster.detach(),
            "logits": swapped[0][1].detach(),
        }

    def _cluster_loss(self, scores: Tensor, logits: Tensor) -> Tensor:
        config = self.config
        scores = (scores if config.swap_targets else logits).detach()
        if config.equipartition:
            targets = sinkhorn(scores, config.epsilon, config.sinkhorn_iterations)
        else:
            targets = self.probabilities(scores)
        return target_cross_entropy(targets, logits, config.assignment_temperature)

    def after_step(self, progress: float = 0.0) -> None:
        self.frame.after_step(self.encoder, progress)

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        return Parts(features, *self.frame.predict(cast(Encoder, self.encoder).of(features)))

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.softmax(logits / self.config.assignment_temperature, dim=1)

    @property
    def largest_confidence(self) -> float:
        if not self.config.unit_logits:
            return 1.0
        return largest_confidence(self.num_clusters, self.config.assignment_temperature)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(1 + self.frame.negatives(batch_size))

    def restart(self, taken: Container[str] = ()) -> None:
        self.frame.restart(self.encoder)

    def inference_state(self) -> dict[str, Tensor]:
        predictor = {f"frame.{name}": value for name, value in self.frame.state_dict().items() if "predictor." in name}
        return super().inference_state() | predictor


def largest_confidence(num_clusters: int, temperature: float) -> float:
    """The largest probability that a unit-norm logit vector can give a cluster.

    Args:
        num_clusters: K >= 2.
        temperature: t2.

    Returns:
        1 / (1 + (K - 1) exp(-sqrt(K / (K - 1)) / t2)): reached where one logit stands out and the others are equal.

    Example:
        >>> round(largest_confidence(10, 0.1), 4)
        0.9998
    """
    spread = math.sqrt(num_clusters / (num_clusters - 1))
    return 1 / (1 + (num_clusters - 1) * math.exp(-spread / temperature))


def sharpest_temperature(num_clusters: int, confidence: float) -> float:
    """The temperature at which a unit-norm logit vector can just give a cluster this probability.

    Args:
        num_clusters: K >= 2.
        confidence: In 1/K..1, both exclusive.

    Returns:
        t2 with `largest_confidence(num_clusters, t2) == confidence`.

    Example:
        >>> [round(sharpest_temperature(clusters, 0.95), 3) for clusters in (2, 10, 100, 1000)]
        [0.48, 0.205, 0.133, 0.102]
    """
    odds = confidence / (1 - confidence)
    return math.sqrt(num_clusters / (num_clusters - 1)) / math.log((num_clusters - 1) * odds)
