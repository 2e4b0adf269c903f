"""What a recipe leaves open is decided here, from the images and before anything is trained."""

from dataclasses import dataclass, field
from typing import Any

from likewise.assembly import method_config
from likewise.config import ModelConfig, Recipe, suggested_views
from likewise.data import ImageSource
from likewise.errors import InputError
from likewise.methods import METHODS
from likewise.ranks import world_size
from likewise.views.config import VIEWS
from likewise.wording import plural

LARGEST_SCRATCH_SIZE = 96  # px; from scratch, more pixels cost far more time than they bring clusters
PRETRAINED_SIZE = 224  # px; what most published weights were trained at
SMALL = 64  # px; up to here a network keeps the resolution for longer
VIEW_SHARE = 2 / 3  # of the side of larger images, from scratch: smaller views buy more steps (docs/log.md)
LARGEST_BATCH = 1024  # that is chosen unasked; larger ones may not fit into memory
SCRATCH_MINUTES = 10.0
FROZEN_STEPS = 500  # at least; more of them overfit small sets
FROZEN_EPOCHS = 5  # at least, which is more than that in large sets
FROZEN_NEIGHBORS = 20  # at most


@dataclass(frozen=True)
class StageDefaults:
    """What a stage does otherwise than the training before it.

    Attributes:
        views: Name of its set of views.
        minutes: How long it takes from images.
        steps: How long it takes on the cached features of a frozen backbone.
        training: Settings of `[training]`.
    """

    views: str
    minutes: float
    steps: int
    training: dict[str, Any] = field(default_factory=dict)


STAGE_DEFAULTS: dict[str, StageDefaults] = {
    # SCAN's rate and decay (arXiv 2005.12320), with AdamW for its Adam; there is no second view for a neighbour
    "self-label": StageDefaults(
        views="strong",
        minutes=3.0,
        steps=500,
        training={"optimizer": "adamw", "learning_rate": 1e-4, "weight_decay": 1e-4, "neighbors": 0},
    ),
}


def with_model(recipe: Recipe, source: ImageSource) -> Recipe:
    """The recipe with its backbone, weights, image size, views and method's settings decided.

    Args:
        recipe: What the user asked for.
        source: The images.

    Raises:
        InputError: If there is no such method, or a setting of it is not allowed.
    """
    recipe = recipe.model_copy(deep=True)
    model, data = recipe.model, recipe.data
    model.weights = first_weights(model)
    if model.frozen is None:
        model.frozen = model.weights != "none"
    if data.image_size == 0:
        data.image_size = PRETRAINED_SIZE if model.weights != "none" else _scratch_size(source.typical_side())
    free = model.backbone == "auto"
    if free:
        model.backbone = "resnet9" if model.weights == "none" else "resnet18"
    if model.small_stem is None:
        model.small_stem = model.weights == "none" and data.image_size <= SMALL
    method = METHODS[recipe.method.name][0]
    # as numbers, whatever they were written as: others are computed from them
    given = method_config(recipe).model_dump(include=set(recipe.method.settings))
    new = not model.start and model.weights == "none"
    recipe.method.settings = method.suggest(recipe.method.num_clusters, model.frozen, given, new) | given
    # what was set stays; the rest comes from the set of views that suits the images
    chosen = recipe.views.model_dump(include=recipe.views.model_fields_set)
    stage = STAGE_DEFAULTS.get(recipe.stage.name)
    name = stage.views if stage else _view_name(model.frozen, data.image_size)
    if free and model.weights == "none" and not model.frozen:
        chosen.setdefault("size", _view_size(data.image_size))
    recipe.views = VIEWS[name][0].model_copy(update=chosen)
    return recipe


def first_weights(model: ModelConfig) -> str:
    """Where the weights of a backbone come from: what was asked for, or what suits a frozen or another one."""
    if model.weights != "auto":
        return model.weights
    return "pretrained" if model.backbone == "efficientnet_lite0" or model.frozen else "none"


def _scratch_size(side: int) -> int:
    """The images' own size in steps of 4 px, within what training from scratch can use."""
    return min(max(round(side / 4) * 4, 16), LARGEST_SCRATCH_SIZE)


def _view_size(side: int) -> int:
    """The size of views from scratch, in steps of 4 px; 0 for that of the images."""
    return max(SMALL, 4 * round(VIEW_SHARE * side / 4)) if side > SMALL else 0


def _view_name(frozen: bool, size: int) -> str:
    if frozen:
        return "gentle"
    return "simclr" if size <= SMALL else "simclr-blur"


def with_budget(recipe: Recipe, num_images: int) -> Recipe:
    """The recipe with its batch size and, unless a budget in minutes is set, its number of steps decided.

    Args:
        recipe: From `with_model`.
        num_images: How many images there are to train on.

    Raises:
        InputError: If the images are too few for the clusters or for the batch that was asked for, if neighbours are
            asked for and there are no features to find them by, several heads or smaller views where there cannot be
            any, or a stage that has nothing to train, or if epochs and steps say different things.
    """
    recipe = recipe.model_copy(deep=True)
    training, clusters = recipe.training, recipe.method.num_clusters
    check_counts(recipe, num_images)
    stage = STAGE_DEFAULTS.get(recipe.stage.name)
    for name, value in stage.training.items() if stage else ():
        if name not in training.model_fields_set:
            setattr(training, name, value)
    if training.batch_size == 0:
        training.batch_size = fair_batch(num_images, clusters)
    method, given = METHODS[recipe.method.name][0], recipe.method.settings
    recipe.method.settings = method.suggest_sizes(num_images, training.batch_size, given) | given
    _check_groups(recipe)
    if recipe.stage.name and recipe.model.frozen and method.concludes:
        raise InputError(
            f"{recipe.method.name} on a frozen backbone has nothing that {recipe.stage.name} could train: its clusters "
            "are K-means on features that stay as they are. Start from a run of cdc, or train the backbone."
        )
    if training.neighbors is None:
        wanted = method.neighbors or (FROZEN_NEIGHBORS if recipe.model.frozen and method.takes_neighbors else 0)
        training.neighbors = 0 if recipe.stage.name else min(wanted, fair_neighbors(num_images, clusters))
    if recipe.model.cached_views is None:
        recipe.model.cached_views = suggested_views(training.neighbors)
    two_views = not (recipe.stage.name or method.supervised or recipe.method.settings.get("views") == "plain")
    if recipe.model.frozen and two_views and recipe.model.cached_views == 1 and not training.neighbors:
        other = ", or training.neighbors to 1 or more" if method.takes_neighbors else ""
        raise InputError(
            f"of one cached view, both views of an image are the same: set model.cached_views to 2 or more{other}."
        )
    if training.neighbors and not method.takes_neighbors:
        raise InputError(f"{recipe.method.name} compares views of one image: set training.neighbors=0.")
    if training.neighbors and not (recipe.model.frozen or recipe.model.start):
        raise InputError(
            "neighbours as positives need features that mean something: start from a run (--from RUN), "
            "or use a frozen backbone."
        )
    frozen, settings = bool(recipe.model.frozen), recipe.method.settings
    if training.heads is None:
        training.heads = 1 if recipe.stage.name else method.suggest_heads(frozen, settings)
    if (training.heads or 1) > 1 and (recipe.stage.name or not method.takes_heads(frozen, settings)):
        raise InputError(
            "several heads are for the clusters of cdc, scan and center on a frozen backbone, and for cdc in the "
            "in-batch frame from scratch: set training.heads=1."
        )
    if training.steps is None and training.epochs is None and training.minutes is None:
        if recipe.model.frozen:
            enough = FROZEN_EPOCHS * (num_images // training.batch_size)
            training.steps = stage.steps if stage else max(FROZEN_STEPS, enough)
        else:
            training.minutes = stage.minutes if stage else SCRATCH_MINUTES
    if training.epochs is not None:
        steps = max(1, round(training.epochs * (num_images // training.batch_size)))
        if training.steps not in (None, steps):
            raise InputError(
                f"training.epochs = {training.epochs:g} makes {plural(steps, 'step')} of {training.batch_size:,} of "
                f"these images, and training.steps = {training.steps:,}: leave one of the two out of the recipe."
            )
        training.steps = steps
    return recipe


def _check_groups(recipe: Recipe) -> None:
    """Make sure that the groups of the MoCo v2 frame are large enough for batch norm."""
    settings, share = recipe.method.settings, recipe.training.batch_size // world_size()
    groups = settings.get("norm_groups", 1)
    moco = settings.get("frame", getattr(METHODS[recipe.method.name][0].Config(), "frame", "")) == "moco-v2"
    if moco and isinstance(groups, int) and 2 * groups > share:
        raise InputError(
            f"{groups} groups of {share} images leave batch norm fewer than two each; choose a larger batch, "
            f"or method.settings.norm_groups={max(share // 2, 1)} or less."
        )


def fair_batch(num_images: int, clusters: int) -> int:
    """Sinkhorn balances a batch over the clusters: it needs several images for each of them."""
    return min(max(256, min(4 * clusters, LARGEST_BATCH)), num_images)


def fair_neighbors(num_images: int, clusters: int) -> int:
    """How many of the nearest images may stand in for an image: of a cluster of fair size, at most a fifth."""
    return min(max(num_images // (5 * clusters), 1), FROZEN_NEIGHBORS)


def check_counts(recipe: Recipe, num_images: int) -> None:
    """Make sure that there are images enough.

    Raises:
        InputError: If there are fewer than two clusters, fewer than four images or two for a cluster, or a batch larger
            than the set.
    """
    clusters, batch = recipe.method.num_clusters, recipe.training.batch_size
    if clusters < 2:
        raise InputError(
            f"{clusters} cluster{'' if clusters == 1 else 's'}: grouping needs at least 2; choose -k 2 or more."
        )
    if num_images < 4:
        few = "1 image is" if num_images == 1 else f"{num_images} images are"
        raise InputError(f"{few} too few to learn from; at least 4 are needed.")
    if num_images < 2 * clusters:
        raise InputError(
            f"{num_images:,} images are too few for {clusters:,} clusters of at least two; choose -k {num_images // 2} "
            "or less, or add images."
        )
    if batch > num_images:
        raise InputError(
            f"a batch of {batch:,} is larger than the set of {num_images:,} images; "
            f"choose {num_images} or less: --set training.batch_size={num_images}."
        )
    if 0 < batch < 4:
        raise InputError(
            f"a batch of {batch} has too few negatives to learn from; choose 4 or more: --set training.batch_size=4."
        )
