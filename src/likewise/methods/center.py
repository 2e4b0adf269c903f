"""Cluster centres in the feature space, learned with a contrastive and an anchor loss (arXiv 2109.12714)."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from likewise.methods.base import Method, MethodConfig, Parts, Signs, View
from likewise.methods.kmeans import kmeans_centers
from likewise.objectives import kl_divergence, log_student_t, nt_xent, target_distribution
from likewise.objectives.precision import raised
from likewise.progress import say
from likewise.ranks import gather

RESEED_STEPS = 100  # steps in which a centre must get an image, or it is taken for dead
MOST_SIZES = 20  # sizes of clusters that are said
VIEWS: dict[str, tuple[View, View, View]] = {
    "mixed": ("plain", "augmented", "augmented"),
    "plain": ("plain", "plain", "plain"),
    "augmented": ("augmented", "augmented", "augmented"),
}


class CenterConfig(MethodConfig):
    """Settings of the cluster-centre predictor. The defaults are the published ones."""

    projection_dim: int = Field(default=128, ge=2, le=2**16, description="size of the projections, the instance part")
    hidden_dim: int = Field(default=512, ge=1, le=2**16, description="width of the projection head's hidden layer")
    temperature: float = Field(default=0.5, gt=0, description="of the instance loss")
    degrees: float = Field(default=1.0, gt=0, description="a, degrees of freedom of Student's t-distribution")
    instance_weight: float = Field(default=1.0, ge=0, description="alpha, of the instance loss (NT-Xent)")
    clustering_weight: float = Field(default=1.0, ge=0, description="beta, of the clustering loss")
    anchor_weight: float = Field(default=1.0, ge=0, description="gamma, of the anchor loss")
    views: Literal["mixed", "plain", "augmented"] = Field(
        default="mixed", description="mixed: a plain and two augmented views; all plain or all augmented: ablations"
    )
    reseed: bool = Field(
        default=False, description=f"move a centre that got no image for {RESEED_STEPS} steps to an image of the batch"
    )


class Encoder(nn.Module):
    """Backbone, projection head and cluster centres.

    Args:
        backbone: From images to features [B, F].
        num_features: F.
        num_clusters: K.
        config: Sizes of the head.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: CenterConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Linear(num_features, config.hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden_dim, config.projection_dim),
        )
        self.centers = nn.Parameter(torch.randn(num_clusters, num_features))
        self.degrees = config.degrees

    def of(self, features: Float[Tensor, "B F"]) -> Parts:
        """Logits, which are ln r, and projections of unit length for features."""
        features = raised(features)
        logits = log_student_t(features, self.centers, self.degrees)
        return Parts(features, logits, functional.normalize(raised(self.head(features)), dim=1))


class Center(Method):
    """The cluster-centre predictor.

    L = alpha * L_instance + beta * L_clustering + gamma * L_anchor: NT-Xent between two augmented views; soft
    assignments of the plain view, sharpened towards their own target distribution; and the assignments of both
    augmented views drawn to that of the plain one, the anchor.

    Args:
        backbone: From images [B, C, H, W] to features [B, F]; `nn.Identity()` to train on cached features.
        num_features: F.
        num_clusters: K, at least 2.
        config: Everything else.

    Source:
        arXiv 2109.12714.

    Example:
        >>> method = Center(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=CenterConfig(hidden_dim=32))
        >>> out = method.training_step(tuple(torch.rand(16, 3, 8, 8) for _ in method.views))
        >>> out["loss"].backward()
        >>> method.assign(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 4])
    """

    Config = CenterConfig
    encoder: Encoder
    idle_steps: Tensor
    prepares = True
    undecayed = ("encoder.centers",)  # places, which nothing in the paper draws to the origin
    takes_neighbors = False  # the anchor loss ties the views of one image
    joins_plain_views = True
    signs = Signs(
        contrastive_term="instance_loss",
        uniform_term="assignment_entropy",
        collapsed="Start from features that mean something, those of a run that was trained without clusters (--from), "
        "or lower anchor_weight",
        empty="method.settings.reseed=true moves their centres to where images are; if it stays, there may be fewer "
        "groups than -k asks for",
        stuck="A higher clustering_weight or a lower anchor_weight helps, or a start from the features of another run "
        "(--from)",
    )

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: CenterConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(backbone, num_features, num_clusters, config)
        # drawn like the weights, so that whatever seeds those seeds K-means as well
        self.kmeans_seed = int(torch.randint(2**31, ()))
        self.register_buffer("idle_steps", torch.zeros(num_clusters, dtype=torch.long))
        self._anchors: tuple[Tensor, Tensor] | None = None
        if not (config.clustering_weight or config.anchor_weight):
            # with neither of their losses, centres would stay behind while the features move on: found at the end then
            self.prepares, self.concludes = False, True  # type: ignore[misc]
            self.signs = Center.signs._replace(uniform_term="")

    @property
    def views(self) -> tuple[View, ...]:
        return VIEWS[self.config.views]

    @classmethod
    def suggest(cls, num_clusters: int, frozen: bool, given: dict[str, Any]) -> dict[str, Any]:
        """A tenth of the paper's anchor loss where the backbone is trained (docs/log.md has the figures).

        Assignments that do not depend on the image agree best of all. Runs shorter than the published ones lose more
        clusters to that than sharper targets win back; a frozen backbone has no features to give up.
        """
        return {} if frozen else {"anchor_weight": 0.1}

    def prepare(self, features: Float[Tensor, "N F"]) -> None:
        """Put the centres where K-means finds clusters in the features."""
        say(f"the centres start from K-means, whose clusters hold {self._place_centers(features)} images")

    def conclude(self, features: Float[Tensor, "N F"]) -> None:
        """The same at the end, where no loss has moved the centres."""
        self._place_centers(features)

    def _place_centers(self, features: Float[Tensor, "N F"]) -> str:
        """Returns how many images lie around each, in words."""
        centers, clusters = kmeans_centers(features, len(self.encoder.centers), self.kmeans_seed)
        with torch.no_grad():
            self.encoder.centers.copy_(centers)
        sizes = torch.bincount(clusters, minlength=len(centers))
        ordered = sizes.sort(descending=True).values.tolist()
        more = ", ..." if len(ordered) > MOST_SIZES else ""
        shown = ", ".join(f"{size:,}" for size in ordered[:MOST_SIZES])
        return shown + more

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        # One pass for all views, and so one set of batch-norm statistics: the anchor loss compares places in feature
        # space, and a view that was normalised by itself would lie elsewhere for that reason alone.
        parts = self.encoder.of(self.backbone(torch.cat(views)))
        plain, first, second = map(gather, parts.logits.chunk(3))
        _, one, other = map(gather, parts.projections.chunk(3))
        config, assignments = self.config, plain.exp()
        anchor = assignments.detach()
        instance = nt_xent(one, other, config.temperature)
        clustering = kl_divergence(target_distribution(assignments), assignments)
        anchoring = kl_divergence(anchor, first.exp()) + kl_divergence(anchor, second.exp())
        if config.reseed:
            self._anchors = gather(parts.features.chunk(3)[0].detach()), plain.argmax(dim=1)
        outputs = {
            "loss": config.instance_weight * instance
            + config.clustering_weight * clustering
            + config.anchor_weight * anchoring,
            "instance_loss": instance.detach(),
            "clustering_loss": clustering.detach(),
            "anchor_loss": anchoring.detach(),
            "assignment_entropy": -(anchor * plain.detach()).sum(dim=1).mean(),
        }
        return outputs if self.concludes else outputs | {"logits": plain.detach()}

    @torch.no_grad()
    def after_step(self, progress: float = 0.0) -> None:
        if self._anchors is None:
            return
        features, clusters = self._anchors
        self.idle_steps += 1
        self.idle_steps[clusters] = 0
        dead = self.idle_steps >= RESEED_STEPS
        # batches come in random order, so that their first rows are random images
        rows = (dead.cumsum(0) - 1).clamp(0, len(features) - 1)
        centers = self.encoder.centers
        centers.copy_(torch.where(dead[:, None], features[rows], centers))
        self.idle_steps.masked_fill_(dead, 0)

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        return self.encoder.of(features)

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.softmax(raised(logits), dim=1)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 1)
