"""CDC: one network, whose output is a category and an instance (arXiv 2306.05439)."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from likewise.methods.base import Method, MethodConfig, Parts
from likewise.models.heads import projection_head
from likewise.models.momentum import MomentumEncoder
from likewise.models.queue import Queue
from likewise.objectives import info_nce, nt_xent, sinkhorn, target_cross_entropy


class CDCConfig(MethodConfig):
    """Settings of CDC. The defaults suit short training on small machines."""

    frame: Literal["in-batch", "moco-v2"] = Field(
        default="in-batch",
        description="in-batch: both views are queries and keys (SimCLR); moco-v2: momentum encoder and a queue of keys",
    )
    instance_dim: int = Field(default=128, ge=2, description="D, the size of the instance part z_n")
    hidden_dim: int = Field(default=512, ge=1, description="width of the projection head's hidden layer")
    temperature: float = Field(default=0.2, gt=0, description="t1, of the contrastive loss")
    assignment_temperature: float = Field(default=0.1, gt=0, description="t2, of the cluster probabilities")
    epsilon: float = Field(default=0.05, gt=0, description="Sinkhorn regularisation of the balanced targets")
    sinkhorn_iterations: int = Field(default=3, ge=1, description="how often Sinkhorn scales columns and rows")
    cluster_weight: float = Field(default=1.0, ge=0, description="lambda, the weight of the cluster loss")
    swap_targets: bool = Field(default=True, description="the targets of one view supervise the other view")
    queue_size: int = Field(default=4096, ge=1, description="keys in the queue (moco-v2)")
    momentum: float = Field(default=0.99, ge=0, le=1, description="of the momentum encoder (moco-v2)")


class Embedding(NamedTuple):
    """The two parts of z, each of unit length: logits z_c [B, K] and projections z_n [B, D]."""

    logits: Float[Tensor, "B K"]
    projections: Float[Tensor, "B D"]

    @property
    def joint(self) -> Float[Tensor, "B joint"]:
        """[z_c ; z_n] [B, K + D], of length sqrt(2): a dot product of two is c_ij + n_ij."""
        return torch.cat(self, dim=1)

    def halves(self) -> tuple["Embedding", "Embedding"]:
        """The two views of a batch that went through the network as one."""
        (first, second), (third, fourth) = self.logits.chunk(2), self.projections.chunk(2)
        return Embedding(first, third), Embedding(second, fourth)


class Encoder(nn.Module):
    """Backbone and projection head: an image becomes z = [z_c ; z_n].

    Args:
        backbone: From images to features [B, F].
        num_features: F.
        num_clusters: K.
        config: Sizes of the head.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: CDCConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = projection_head(num_features, config.hidden_dim, num_clusters + config.instance_dim)
        self.num_clusters = num_clusters

    def forward(self, images: Tensor) -> Embedding:
        return self.split(self.backbone(images))

    def split(self, features: Float[Tensor, "B F"]) -> Embedding:
        """Both parts of z for features, normalised separately and in float32 (METHODS: not renormalised together)."""
        z = self.head(features).float()
        return Embedding(
            functional.normalize(z[:, : self.num_clusters], dim=1),
            functional.normalize(z[:, self.num_clusters :], dim=1),
        )


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

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: CDCConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(backbone, num_features, num_clusters, config)
        self.momentum_encoder: MomentumEncoder | None = None
        if config.frame == "moco-v2":
            self.momentum_encoder = MomentumEncoder(self.encoder)
            # every key is two unit vectors side by side, and so are the stand-ins before the first push
            shapes = (num_clusters, config.instance_dim)
            noise = [functional.normalize(torch.randn(config.queue_size, size), dim=1) for size in shapes]
            self.queue = Queue(torch.cat(noise, dim=1))
        self._new_keys: Tensor | None = None

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        """From images to features."""
        return self.encoder.backbone

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        first, second = views
        step = self._in_batch if self.momentum_encoder is None else self._moco
        contrastive, pairs = step(first, second)
        cluster = torch.stack([self._cluster_loss(scores, logits) for scores, logits in pairs]).mean()
        return {
            "loss": contrastive + self.config.cluster_weight * cluster,
            "contrastive_loss": contrastive.detach(),
            "cluster_loss": cluster.detach(),
            "logits": pairs[0][1].detach(),
        }

    def _in_batch(self, first: Tensor, second: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        # one pass for both views: twice the batch fills the hardware better, and batch norm sees both alike
        one, other = self.encoder(torch.cat([first, second])).halves()
        contrastive = nt_xent(one.joint, other.joint, self.config.temperature)
        if self.config.swap_targets:
            return contrastive, [(other.logits, one.logits), (one.logits, other.logits)]
        return contrastive, [(one.logits, one.logits), (other.logits, other.logits)]

    def _moco(self, first: Tensor, second: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        assert self.momentum_encoder is not None
        query: Embedding = self.encoder(first)
        key: Embedding = self.momentum_encoder(second)
        self._new_keys = key.joint
        contrastive = info_nce(query.joint, key.joint, self.queue(), self.config.temperature)
        return contrastive, [(key.logits if self.config.swap_targets else query.logits, query.logits)]

    def _cluster_loss(self, scores: Tensor, logits: Tensor) -> Tensor:
        targets = sinkhorn(scores, self.config.epsilon, self.config.sinkhorn_iterations)
        return target_cross_entropy(targets, logits, self.config.assignment_temperature)

    def after_step(self) -> None:
        if self.momentum_encoder is not None and self._new_keys is not None:
            self.momentum_encoder.update(self.encoder, self.config.momentum)
            self.queue.push(self._new_keys)
            self._new_keys = None

    def parts(self, images: Tensor) -> Parts:
        features = self.backbone(images)
        return Parts(features, *self.encoder.split(features))

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.softmax(logits.float() / self.config.assignment_temperature, dim=1)

    def chance_loss(self, batch_size: int) -> float:
        negatives = 2 * batch_size - 2 if self.momentum_encoder is None else self.config.queue_size
        return math.log(1 + negatives)

    def inference_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if name.startswith("encoder.")}


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
