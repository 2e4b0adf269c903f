"""Cluster centres in the feature space, learned with a contrastive and an anchor loss (arXiv 2109.12714)."""

import math
from collections.abc import Container
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from likewise.methods.base import Method, MethodConfig, Parts, Signs, View
from likewise.methods.kmeans import kmeans_centers
from likewise.objectives import kl_divergence, log_student_t, nt_xent, target_distribution
from likewise.objectives.precision import raised
from likewise.progress import say
from likewise.ranks import gather, share

RESEED_STEPS = 100  # steps in which a centre must get an image, or it is taken for dead,
STEPS_FOR_EACH = 20  # or more where there are many: in so many times K / B, a cluster of fair size gets 20
RESEED_UNTIL = 0.9  # of the training: a centre that moves at the end, at a rate near 0, gathers no images around it
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
    warmup: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the training with the instance loss alone, before centres start; of no use to a frozen "
        "backbone, whose features are there",
    )
    reseed: bool = Field(
        default=False, description=f"move a centre that got no image for {RESEED_STEPS} steps to an image of the batch"
    )

    @field_validator("warmup")
    @classmethod
    def _learns(cls, warmup: float, info: Any) -> float:
        if warmup and info.data.get("instance_weight") == 0:
            raise ValueError("it trains with the instance loss alone, and instance_weight is 0; set warmup=0")
        return warmup


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

    Its centres start where K-means finds clusters in the features of all images: before the first step, or after a
    `warmup` with the instance loss alone, from which features mean something. From then on

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
    reseeded: Tensor
    start_sizes: Tensor
    slowdown = 1.5  # three views instead of two
    undecayed = ("encoder.centers",)  # places, which nothing in the paper draws to the origin
    takes_neighbors = False  # the anchor loss ties the views of one image
    signs = Signs(
        contrastive_term="instance_loss",
        uniform_term="",  # far from all centres, Student's tails make every cluster nearly as probable
        collapsed="A larger method.settings.warmup helps, so that centres start from features that mean something, or "
        "a lower anchor_weight",
        empty="method.settings.reseed=true moves their centres to where images are; if it stays, there may be fewer "
        "groups than -k asks for",
    )

    def __init__(self, backbone: nn.Module, num_features: int, num_clusters: int, config: CenterConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(backbone, num_features, num_clusters, config)
        # drawn like the weights, so that whatever seeds those seeds K-means as well
        self.kmeans_seed = int(torch.randint(2**31, ()))
        self.register_buffer("idle_steps", torch.zeros(num_clusters, dtype=torch.long))
        self.register_buffer("reseeded", torch.zeros((), dtype=torch.long))
        self.register_buffer("start_sizes", torch.zeros(num_clusters, dtype=torch.long))
        self._anchors: tuple[Tensor, Tensor] | None = None
        self.prepares_at, self.warming = config.warmup, config.warmup > 0
        if not (config.clustering_weight or config.anchor_weight):
            # with neither of their losses, centres would stay behind while the features move on: found at the end then
            self.prepares_at, self.concludes = None, True  # type: ignore[misc]
        self.register_load_state_dict_post_hook(_go_on)
        if not config.instance_weight:
            self.signs = self.signs._replace(contrastive_term="")  # a loss without weight need not fall
        if config.reseed:
            self.signs = self.signs._replace(
                empty="Those that get no image at all are moved; the rest may be few images"
            )

    @property
    def has_clusters(self) -> bool:
        return not (self.concludes or self.warming)

    @property
    def views(self) -> tuple[View, ...]:
        return VIEWS[self.config.views] if self.has_clusters else VIEWS[self.config.views][1:]

    @classmethod
    def suggest(cls, num_clusters: int, frozen: bool, given: dict[str, Any], new: bool = True) -> dict[str, Any]:
        """What short runs need where the backbone is trained (docs/log.md has the figures).

        A tenth of the paper's anchor loss: assignments that do not depend on the image agree best of all, and runs
        shorter than the published ones lose more clusters to that than sharper targets win back; a frozen backbone has
        no features to give up. And half of the training before the centres start, unless there are features already,
        or none would be learned in it.
        """
        if frozen:
            return {}
        learns = given.get("instance_weight", 1) > 0 and given.get("views") != "plain"
        return {"anchor_weight": 0.1} | ({"warmup": 0.5} if new and learns else {})

    def prepare(self, features: Float[Tensor, "N F"]) -> None:
        """Put the centres where K-means finds clusters in the features, and train them from now on."""
        self.start_sizes.copy_(self._place_centers(features))
        self.warming = False
        sizes = self.start_sizes.sort(descending=True).values.tolist()
        shown = ", ".join(f"{size:,}" for size in sizes[:MOST_SIZES]) + (", ..." if len(sizes) > MOST_SIZES else "")
        say(f"the centres start from K-means, whose clusters hold {shown} images")

    def conclude(self, features: Float[Tensor, "N F"]) -> None:
        """The same at the end, where no loss has moved the centres."""
        self._place_centers(features)

    def restart(self, taken: Container[str] = ()) -> None:
        """Centres that another run has trained go on from where they are."""
        if "encoder.centers" in taken:
            self.prepares_at, self.warming = None, False

    def _place_centers(self, features: Float[Tensor, "N F"]) -> Int[Tensor, " K"]:
        """Returns how many images lie around each."""
        features = features.detach().cpu()
        centers, clusters = kmeans_centers(features, len(self.encoder.centers), self.kmeans_seed)
        with torch.no_grad():
            self.encoder.centers.copy_(centers)
        share(self.encoder.centers)  # processes may round features differently, and K-means then ends elsewhere
        return torch.bincount(clusters, minlength=len(centers))

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        # One pass for all views, and so one set of batch-norm statistics: the anchor loss compares places in feature
        # space, and a view that was normalised by itself would lie elsewhere for that reason alone.
        count, side = len(views), views[-1].shape[2:]
        views = tuple(view if view.shape[2:] == side else _shrunk(view, side) for view in views)
        parts = self.encoder.of(self.backbone(torch.cat(views)))
        *_, one, other = map(gather, parts.projections.chunk(count))
        config = self.config
        instance = nt_xent(one, other, config.temperature)
        if not self.has_clusters:
            return {"loss": config.instance_weight * instance, "instance_loss": instance.detach()}
        plain, first, second = map(gather, parts.logits.chunk(count))
        anchor = plain.detach().exp()
        clustering = kl_divergence(target_distribution(anchor), plain)
        anchoring = kl_divergence(anchor, first) + kl_divergence(anchor, second)
        if config.reseed:
            self._anchors = gather(parts.features.chunk(3)[0].detach()), plain.argmax(dim=1)
        return {
            "loss": config.instance_weight * instance
            + config.clustering_weight * clustering
            + config.anchor_weight * anchoring,
            "instance_loss": instance.detach(),
            "clustering_loss": clustering.detach(),
            "anchor_loss": anchoring.detach(),
            "assignment_entropy": -(anchor * plain.detach()).sum(dim=1).mean(),
            "logits": plain.detach(),
        }

    @torch.no_grad()
    def after_step(self, progress: float = 0.0) -> None:
        if self._anchors is None or progress > RESEED_UNTIL:
            return
        features, clusters = self._anchors
        self.idle_steps += 1
        self.idle_steps[clusters] = 0
        # the more clusters for an image of the batch, the longer a living one may have to wait
        dead = self.idle_steps >= max(RESEED_STEPS, STEPS_FOR_EACH * len(self.idle_steps) // len(features))
        # batches come in random order, so that their first rows are random images
        rows = (dead.cumsum(0) - 1).clamp(0, len(features) - 1)
        self.reseeded += dead.sum()
        centers = self.encoder.centers
        centers.copy_(torch.where(dead[:, None], features[rows], centers))
        self.idle_steps.masked_fill_(dead, 0)

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        return self.encoder.of(features)

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.softmax(raised(logits), dim=1)

    def figures(self) -> dict[str, Any]:
        """The sizes of the clusters that the centres started from, how far each is from the nearest other one, and how
        often one was moved."""
        centers = self.encoder.centers.detach().cpu().double()  # an Apple GPU has no float64
        distances = torch.cdist(centers, centers).fill_diagonal_(math.inf).amin(dim=1)
        started = {"start_sizes": self.start_sizes.tolist()} if self.start_sizes.any() else {}
        moved = {"reseeded": int(self.reseeded)} if self.config.reseed else {}
        return started | moved | {"nearest_center": [round(distance, 4) for distance in distances.tolist()]}

    def chance_loss(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 1)


def _go_on(method: Center, keys: object) -> None:
    """A checkpoint of a training whose centres have started is gone on from with them."""
    method.warming = method.warming and not bool(method.start_sizes.any())


def _shrunk(view: Float[Tensor, "B C H W"], side: torch.Size) -> Float[Tensor, "B C h w"]:
    """A plain view at the size of the augmented ones, where these are smaller (`views.size`)."""
    small = functional.interpolate(view.float(), tuple(side), mode="bilinear", antialias=True)
    return small.to(view.dtype)
