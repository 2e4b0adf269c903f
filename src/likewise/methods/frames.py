"""Frames: which views are compared with which keys. SimCLR, MoCo v2 and MoCo v3 differ in this and in nothing else."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from likewise.methods.base import MethodConfig
from likewise.models.heads import projection_head
from likewise.models.momentum import MomentumEncoder
from likewise.models.queue import Queue
from likewise.objectives import batch_info_nce, info_nce, nt_xent
from likewise.objectives.precision import raised
from likewise.ranks import gather, world_size

FrameName = Literal["in-batch", "moco-v2", "moco-v3"]

QUEUE_PART = 4  # a queue that is chosen unasked holds at most the images over this
NORM_GROUPS = 8  # as on the eight GPUs of MoCo's trainings


class Embedding(NamedTuple):
    """The two parts of z: logits z_c [B, K] and projections z_n [B, D]. Either may be empty."""

    logits: Float[Tensor, "B K"]
    projections: Float[Tensor, "B D"]

    @property
    def joint(self) -> Float[Tensor, "B joint"]:
        """[z_c ; z_n] [B, K + D]: a dot product of two is c_ij + n_ij."""
        return torch.cat(self, dim=1)

    def halves(self) -> tuple["Embedding", "Embedding"]:
        """The two views of a batch that went through the network as one."""
        (first, second), (third, fourth) = self.logits.chunk(2), self.projections.chunk(2)
        return Embedding(first, third), Embedding(second, fourth)


def split(z: Float[Tensor, "B joint"], num_clusters: int, unit_logits: bool = True) -> Embedding:
    """Both parts of z, in at least float32 and each of unit length (normalised separately, not together).

    Args:
        z: Output of a head; the first columns are the logits.
        num_clusters: K, how many of them; may be 0.
        unit_logits: Whether the logits are normalised; an ablation of the paper leaves them as they are.
    """
    z = raised(z)
    logits, projections = z[:, :num_clusters], z[:, num_clusters:]
    logits = functional.normalize(logits, dim=1) if unit_logits else logits
    return Embedding(logits, functional.normalize(projections, dim=1))


def gathered(embedding: Embedding) -> Embedding:
    """The embeddings of the whole batch where it is spread over several processes.

    Every process then computes the loss of the joined batch, just as one process would.
    """
    return Embedding(*map(gather, embedding))


class FrameConfig(MethodConfig):
    """Settings of a contrastive method that belong to its frame and its head."""

    frame: FrameName = Field(
        default="in-batch",
        description="in-batch: both views are queries and keys (SimCLR); moco-v2: momentum encoder and a queue of "
        "keys; moco-v3: momentum encoder, prediction head, keys of the batch",
    )
    instance_dim: int = Field(default=128, ge=2, le=2**16, description="D, the size of the instance part z_n")
    hidden_dim: int = Field(default=512, ge=1, le=2**16, description="width of the hidden layer of each head")
    temperature: float = Field(default=0.2, gt=0, description="t1, of the contrastive loss")
    queue_size: int = Field(default=4096, ge=1, le=2**24, description="keys in the queue (moco-v2)")
    norm_groups: int = Field(
        default=1,
        ge=1,
        description="shuffling BN (moco-v2): batch norm sees queries and keys in this many groups, as on as many GPUs, "
        "and no query with its own key's; 8 in a run that is not told, if they have two images at least",
    )
    unit_logits: bool = Field(default=True, description="normalise z_c; an ablation")
    momentum: float = Field(default=0.99, ge=0, le=1, description="of the momentum encoder (moco-v2, moco-v3)")
    momentum_schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="cosine: the momentum rises to 1 by the end of the training, as in MoCo v3"
    )

    def without_effect(self) -> set[str]:
        of_momentum = set() if self.frame != "in-batch" else {"momentum", "momentum_schedule"}
        return of_momentum if self.frame == "moco-v2" else of_momentum | {"queue_size", "norm_groups"}


def frame_sizes(config: type[FrameConfig], num_images: int, batch_size: int, given: dict[str, Any]) -> dict[str, int]:
    """How long the queue of the MoCo v2 frame is and how many groups batch norm has, where nobody has set them.

    Args:
        config: Of the method.
        num_images: How many there are to train on.
        batch_size: Of all processes together.
        given: What has been set.

    Returns:
        By name of the setting; empty in the other frames.
    """
    if given.get("frame", config.model_fields["frame"].default) != "moco-v2":
        return {}
    # in a queue of most of the images, an image meets its own older keys as negatives
    queue = min(config.model_fields["queue_size"].default, max(num_images // QUEUE_PART, batch_size))
    # one group for all would tell a query its own key by its statistics (arXiv 1911.05722, section 3.3), but a group
    # needs two images at least
    groups = NORM_GROUPS if batch_size // world_size() >= 2 * NORM_GROUPS else 1
    return {"queue_size": queue, "norm_groups": groups}


class Encoder(nn.Module):
    """Backbone and projection head: an image becomes z = [z_c ; z_n].

    Args:
        backbone: From images to features [B, F].
        num_features: F.
        num_clusters: K; may be 0, for a method without a categorical part.
        config: Sizes of the head.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: FrameConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = projection_head(num_features, config.hidden_dim, num_clusters + config.instance_dim)
        self.num_clusters, self.unit_logits = num_clusters, config.unit_logits

    def forward(self, images: Tensor) -> Embedding:
        return self.of(self.backbone(images))

    def of(self, features: Float[Tensor, "B F"]) -> Embedding:
        """Both parts of z for features."""
        return split(self.head(features), self.num_clusters, self.unit_logits)


class Compared(NamedTuple):
    """What a frame makes of two views.

    Attributes:
        loss: The contrastive loss.
        swapped: (scores, logits) [B, K] each: category scores of one view and the logits of the other, which learn.
    """

    loss: Float[Tensor, ""]
    swapped: list[tuple[Tensor, Tensor]]


class Frame(nn.Module, ABC):
    """Contrastive comparison of two views, and the state that it takes."""

    @abstractmethod
    def forward(self, encoder: nn.Module, first: Tensor, second: Tensor) -> Compared:
        """The loss of two views [B, ...] of the same images under an encoder from views to an `Embedding`."""

    def after_step(self, encoder: nn.Module, progress: float) -> None:
        """What follows an optimiser step."""

    def restart(self, encoder: nn.Module) -> None:
        """Start again from an encoder whose weights were just replaced."""

    def predict(self, embedding: Embedding) -> Embedding:
        """What stands behind the encoder on the side that learns: nothing, in most frames."""
        return embedding

    @abstractmethod
    def negatives(self, batch_size: int) -> int:
        """How many keys of other images a query is compared with."""


class InBatchFrame(Frame):
    """Both views are queries and keys (SimCLR, arXiv 2002.05709)."""

    def __init__(self, config: FrameConfig) -> None:
        super().__init__()
        self.temperature = config.temperature

    def forward(self, encoder: nn.Module, first: Tensor, second: Tensor) -> Compared:
        # one pass for both views: twice the batch fills the hardware better, and batch norm sees both alike
        one, other = map(gathered, encoder(torch.cat([first, second])).halves())
        loss = nt_xent(one.joint, other.joint, self.temperature)
        return Compared(loss, [(other.logits, one.logits), (one.logits, other.logits)])

    def negatives(self, batch_size: int) -> int:
        return 2 * batch_size - 2


class WithMomentum(Frame):
    """What both MoCo frames share: keys come from a slowly following copy of the encoder."""

    def __init__(self, encoder: nn.Module, config: FrameConfig) -> None:
        super().__init__()
        self.config = config
        self.momentum_encoder = MomentumEncoder(encoder)

    def after_step(self, encoder: nn.Module, progress: float) -> None:
        self.momentum_encoder.update(encoder, self.momentum_at(progress))

    def restart(self, encoder: nn.Module) -> None:
        self.momentum_encoder = MomentumEncoder(encoder)

    def momentum_at(self, progress: float) -> float:
        """The momentum when a share of the training is done (MoCo v3, arXiv 2104.02057, section 4.1)."""
        if self.config.momentum_schedule == "constant":
            return self.config.momentum
        return 1 - (1 - self.config.momentum) * (1 + math.cos(math.pi * progress)) / 2


class MoCoV2Frame(WithMomentum):
    """One view asks, the momentum encoder answers; negatives come from a queue (arXiv 1911.05722, 2003.04297)."""

    def __init__(self, encoder: nn.Module, config: FrameConfig, num_clusters: int) -> None:
        super().__init__(encoder, config)
        # stand-ins before the first push, which look like keys
        parts = [torch.randn(config.queue_size, size) for size in (num_clusters, config.instance_dim)]
        self.queue = Queue(split(torch.cat(parts, dim=1), num_clusters).joint)
        self._new_keys: Tensor | None = None

    def forward(self, encoder: nn.Module, first: Tensor, second: Tensor) -> Compared:
        # keys are dealt out, queries cut: the statistics of its group would otherwise tell a query its own key
        order = (torch.arange(len(second), device=second.device) % self.config.norm_groups).argsort(stable=True)
        keys = self._in_groups(self.momentum_encoder, second[order])
        query = gathered(self._in_groups(encoder, first))
        key = gathered(Embedding(*(part[order.argsort()] for part in keys)))
        self._new_keys = key.joint
        loss = info_nce(query.joint, key.joint, self.queue(), self.config.temperature)
        return Compared(loss, [(key.logits, query.logits)])

    def _in_groups(self, encode: Callable[[Tensor], Embedding], views: Tensor) -> Embedding:
        """Both parts of views, a group at a time: batch norm in training sees no more than that at once."""
        groups = [encode(group) for group in views.tensor_split(self.config.norm_groups)]
        return Embedding(*(torch.cat(part) for part in zip(*groups, strict=True)))

    def after_step(self, encoder: nn.Module, progress: float) -> None:
        if self._new_keys is not None:
            super().after_step(encoder, progress)
            self.queue.push(self._new_keys)

    def negatives(self, batch_size: int) -> int:
        return len(cast(Tensor, self.queue.keys))


class MoCoV3Frame(WithMomentum):
    """Both views ask through a prediction head, the momentum encoder answers, the batch is the negatives.

    Source:
        Chen et al., arXiv 2104.02057, Algorithm 1.
    """

    def __init__(self, encoder: nn.Module, config: FrameConfig, num_clusters: int) -> None:
        super().__init__(encoder, config)
        self.num_clusters = num_clusters
        width = num_clusters + config.instance_dim
        self.predictor = projection_head(width, config.hidden_dim, width)

    def predict(self, embedding: Embedding) -> Embedding:
        return split(self.predictor(embedding.joint), self.num_clusters, self.config.unit_logits)

    def forward(self, encoder: nn.Module, first: Tensor, second: Tensor) -> Compared:
        both = torch.cat([first, second])
        one, other = map(gathered, self.predict(encoder(both)).halves())
        one_key, other_key = map(gathered, self.momentum_encoder(both).halves())
        temperature = self.config.temperature
        losses = [
            batch_info_nce(one.joint, other_key.joint, temperature),
            batch_info_nce(other.joint, one_key.joint, temperature),
        ]
        return Compared(torch.stack(losses).mean(), [(other_key.logits, one.logits), (one_key.logits, other.logits)])

    def negatives(self, batch_size: int) -> int:
        return batch_size - 1


def build_frame(encoder: nn.Module, config: FrameConfig, num_clusters: int) -> Frame:
    """The frame that a configuration names.

    Args:
        encoder: From views to an `Embedding`; momentum frames copy it.
        config: Names the frame.
        num_clusters: K, the size of the first part of the embedding; may be 0.
    """
    if config.frame == "in-batch":
        return InBatchFrame(config)
    return (MoCoV2Frame if config.frame == "moco-v2" else MoCoV3Frame)(encoder, config, num_clusters)
