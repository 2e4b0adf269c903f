"""What every method offers, and nothing of how it is trained."""

from abc import ABC, abstractmethod
from collections.abc import Container
from typing import Any, ClassVar, Literal, NamedTuple

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

View = Literal["plain", "augmented"]
"""A plain view is the image as it is; every augmented one is drawn anew."""


class MethodConfig(BaseModel):
    """Settings of a method; unknown names and wrong values are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def without_effect(self) -> set[str]:
        """Names of settings that, as the others are, change nothing."""
        return set()


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


class Signs(NamedTuple):
    """What a run that goes wrong is seen by, and what helps then.

    Attributes:
        contrastive_term: Name of the loss term that is at `chance_loss` where no images are told apart.
        uniform_term: Name of the term that is at ln K where all clusters are equally probable for every image.
        collapsed: What helps where most images are in one cluster.
        empty: What to make of clusters that are almost empty.
        stuck: What helps where no clusters form.
    """

    contrastive_term: str = "contrastive_loss"
    uniform_term: str = "cluster_loss"
    collapsed: str = "A higher cluster_weight or a lower epsilon keeps them balanced"
    empty: str = "If that stays, there may be fewer groups than -k asks for"
    stuck: str = "A lower learning rate or assignment_temperature, or a higher cluster_weight helps"


class Method(nn.Module, ABC):
    """A plain module that trains in a ten-line loop: `training_step`, backward, an optimiser step, `after_step`.

    A method that looks at the whole set before, in or after its training says so (`prepares_at`, `concludes`); it is
    then given the features of all images once.

    Attributes:
        encoder: What is trained and kept; its `backbone` turns images [B, C, H, W] in 0..1 (or cached features) into
            features [B, F]. All methods call them so: one can then start from another's weights.
        prepares_at: The share of the training, in 0..1, after which `prepare` is to be called: 0 before the first step,
            None never.
        slowdown: How many times as long as before it a step takes after `prepare`, which a budget in minutes counts on.
        concludes: Whether `conclude` is to be called after the last.
        neighbors: Of how many nearest images one stands in for each image in its second view, unless the recipe says.
        heads: How many are trained side by side on a frozen backbone, or at the end of a training from scratch if it
            `renews` them, to keep the best, unless the recipe says.
        undecayed: How the names of weights end that weight decay leaves alone; it never touches biases and norms.
        has_instance_part: Whether its instance part is learned, and not the features once more.
        takes_neighbors: Whether its views may be of different images at all.
        supervised: Whether it learns from labels, which `views` brings as the last of the views.
        signs: By what the health of a run is seen.
    """

    encoder: Any  # a module, of a class that the method knows
    prepares_at: float | None = None
    slowdown: ClassVar[float] = 1.0
    concludes: ClassVar[bool] = False
    neighbors: ClassVar[int] = 0
    heads: ClassVar[int] = 1
    undecayed: ClassVar[tuple[str, ...]] = ()
    has_instance_part: ClassVar[bool] = True
    takes_neighbors: ClassVar[bool] = True
    supervised: ClassVar[bool] = False
    signs: Signs = Signs()

    @property
    def backbone(self) -> nn.Module:
        """From images to features."""
        return self.encoder.backbone

    @property
    def views(self) -> tuple[View, ...]:
        """The views of each image that a training step takes, in this order; they may be others after `prepare`."""
        return ("augmented", "augmented")

    @property
    def has_clusters(self) -> bool:
        """Whether its clusters are its own already, and not found in the features later."""
        return not self.concludes

    @abstractmethod
    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            views: Batches of the same images as `views` names them, row by row.

        Returns:
            `"loss"`, to be minimised; its terms by name, the same in every step, but that `prepare` may bring new
            ones; `"logits"` [B, K] without gradient, to watch the clusters, if there are any yet.
        """

    @classmethod
    def suggest(cls, num_clusters: int, frozen: bool, given: dict[str, Any], new: bool = True) -> dict[str, Any]:
        """Settings that suit the task better than the defaults, for where nobody has set them.

        Args:
            num_clusters: K, at least 2.
            frozen: Whether the backbone is frozen.
            given: What has been set, which a suggestion may depend on.
            new: Whether the backbone has learned nothing yet.
        """
        return {}

    @classmethod
    def suggest_sizes(cls, num_images: int, batch_size: int, given: dict[str, Any]) -> dict[str, Any]:
        """The same for settings that follow from the number of images and from the batch.

        Args:
            num_images: How many there are to train on.
            batch_size: Of all processes together.
            given: What has been set, which a suggestion may depend on.
        """
        return {}

    @classmethod
    def renews(cls, settings: dict[str, Any]) -> bool:
        """Whether a training from scratch ends with new heads on the features that it has learned.

        Args:
            settings: Of the method, as far as they are known.
        """
        return False

    @classmethod
    def takes_heads(cls, frozen: bool, settings: dict[str, Any]) -> bool:
        """Whether several heads can be trained, to keep the best.

        Args:
            frozen: Whether the backbone is frozen.
            settings: As for `renews`.
        """
        return (frozen or cls.renews(settings)) and not cls.concludes

    @classmethod
    def suggest_heads(cls, frozen: bool, settings: dict[str, Any]) -> int:
        """How many heads are trained where nobody has said it; the arguments are those of `takes_heads`."""
        return cls.heads if cls.takes_heads(frozen, settings) else 1

    def after_step(self, progress: float = 0.0) -> None:
        """What follows an optimiser step, such as a queue or a momentum encoder that moves on; once after each.

        Args:
            progress: Share of the training that is done, in 0..1.
        """

    def prepare(self, features: Float[Tensor, "N F"]) -> None:
        """See the features of all images as they are, from the backbone as it is at `prepares_at`."""

    def conclude(self, features: Float[Tensor, "N F"]) -> None:
        """Finish with the features of all images as they are, from the trained backbone."""

    def restart(self, taken: Container[str] = ()) -> None:
        """Start again from an encoder whose weights were just replaced: what copies it, copies it anew.

        Args:
            taken: Names of the weights that another run has trained.
        """

    def result(self) -> "Method":
        """What the training has made, for inference: itself, or what it was training."""
        return self

    @abstractmethod
    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        """Cluster logits and instance part that belong to features, and the features themselves."""

    @abstractmethod
    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """The assignment probabilities that belong to cluster logits."""

    def figures(self) -> dict[str, Any]:
        """What it knows of its clusters beside the assignments, in plain values, for metrics.json."""
        return {}

    @property
    def largest_confidence(self) -> float:
        """The largest probability that a cluster can be given; below 1 where the logits are bounded."""
        return 1.0

    @abstractmethod
    def chance_loss(self, batch_size: int) -> float:
        """The contrastive loss of a network that tells no images apart, for batches of this size."""

    def inference_state(self) -> dict[str, Tensor]:
        """The weights that `parts` needs, without what only training needs: those of the encoder."""
        return {name: value for name, value in self.state_dict().items() if name.startswith("encoder.")}

    def parts(self, images: Tensor) -> Parts:
        """Features, cluster logits and instance part of a batch."""
        return self.parts_of(self.backbone(images))

    def embed(self, images: Tensor) -> Float[Tensor, "B F"]:
        """The features of a batch."""
        return self.backbone(images)

    def assign(self, images: Tensor) -> Float[Tensor, "B K"]:
        """The cluster logits of a batch; the cluster of an image is their argmax."""
        return self.parts(images).logits
