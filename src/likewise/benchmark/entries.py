"""What can be compared. A new one is one line in a table."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from likewise.defaults import STAGE_DEFAULTS
from likewise.errors import InputError, unknown_name

SELF_LABEL = "+self-label"
SUPERVISED = "supervised"
NEW_HEADS = "new-heads"
FULL = "full"
SELF_LABEL_SHARE = 0.2
FROZEN = "model.frozen=true"
_METHOD = "method.name="
Backbone = Literal["frozen", "trained"]


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        share: Of the budget, in 0..1; with 0, it takes what such a training takes by default, beside the budget.
        settings: What differs from the recipe that all share, as `NAME=VALUE`, and makes the row what it is.
        own: The same of what it takes unless a setting of its method alone says otherwise, such as an optimiser.
        rate: What the learning rate is multiplied by.
    """

    share: float
    settings: tuple[str, ...]
    own: tuple[str, ...] = ()
    rate: float = 1.0

    @property
    def method(self) -> str:
        """The method that is trained."""
        named = (setting.removeprefix(_METHOD) for setting in self.settings if setting.startswith(_METHOD))
        return next(named, "")

    @property
    def freezes(self) -> bool:
        """Whether the network of the stage before stays as it is."""
        return FROZEN in self.settings

    @property
    def is_further(self) -> bool:
        """Whether it trains a method further that has been trained, such as self-labelling."""
        return any(setting.startswith("stage.name=") for setting in self.settings)


@dataclass(frozen=True)
class Entry:
    """One row of a comparison.

    Attributes:
        name: In the table, and of its folder.
        about: One line.
        stages: Trainings, each of which starts from the network of the one before; none for a clustering of pixels.
        frozen: The trainings on a frozen backbone, whose features are there from the start, if they are others.
        published: Accuracy of the clusters that the paper reports, if any.
        published_linear: The same of a linear probe on the features.
        probed: Whether a linear probe is made.
        only: Of which backbones it is, where it would be another row again on others.
    """

    name: str
    about: str
    stages: tuple[Stage, ...] = ()
    frozen: tuple[Stage, ...] = ()
    published: str = ""
    published_linear: str = ""
    probed: bool = False
    only: Backbone | None = None

    def on(self, frozen: bool) -> "Entry":
        """The entry as it is trained on a frozen backbone, where features are the same in every row, or on another."""
        return replace(self, stages=self.frozen or self.stages, probed=False).unpublished() if frozen else self

    def unpublished(self) -> "Entry":
        """The entry without the paper's figures, where they are of something else."""
        return replace(self, published="", published_linear="")


# SCAN's own optimiser, rate and decay (arXiv 2005.12320), for a backbone that is trained with the head
SCAN_STAGE = Stage(
    0.3,
    ("method.name=scan",),
    ("training.optimizer=adamw", "training.learning_rate=1e-4", "training.weight_decay=1e-4"),
)
# a head alone wants larger steps (docs/log.md)
SCAN_HEAD = Stage(
    1.0,
    ("method.name=scan",),
    ("training.optimizer=adamw", "training.learning_rate=1e-2", "training.weight_decay=1e-4"),
)
# at half of the rate, as in recipes/cifar10-cpu-neighbors.toml: the network has been trained before
NEIGHBORS_STAGE = Stage(0.3, ("method.name=cdc", "training.neighbors=20"), rate=0.5)

_ENTRIES = (
    Entry("kmeans-pixels", "K-means on pixels"),
    Entry("spectral-pixels", "spectral clustering on pixels, on a graph of at most 5,000 images"),
    Entry("simclr", "SimCLR, then K-means on its features", (Stage(1.0, ("method.name=simclr",)),)),
    Entry(
        "simclr-heads",
        "SimCLR, then heads of CDC beside the budget, trained as on any frozen backbone: softer, on augmented views "
        "and for longer than the new heads of CDC itself",
        (Stage(1.0, ("method.name=simclr",)), Stage(0.0, ("method.name=cdc", FROZEN))),
        only="trained",
    ),
    Entry("moco-v2", "MoCo v2, then K-means on its features", (Stage(1.0, ("method.name=moco-v2",)),)),
    Entry(
        "scan",
        "SimCLR for .7 of the budget, then SCAN; on a frozen backbone SCAN alone",
        (Stage(0.7, ("method.name=simclr",)), SCAN_STAGE),
        (SCAN_HEAD,),
    ),
    Entry(
        "scan-heads",
        "SimCLR, then SCAN's heads on its frozen features, beside the budget",
        (Stage(1.0, ("method.name=simclr",)), Stage(0.0, (*SCAN_HEAD.settings, FROZEN), SCAN_HEAD.own)),
        only="trained",
    ),
    Entry(
        "center",
        "cluster centres, from scratch after half of the steps without them",
        (Stage(1.0, ("method.name=center",)),),
    ),
    Entry("cdc", "CDC", (Stage(1.0, ("method.name=cdc",)),)),
    Entry(
        "cdc-one-head",
        "CDC with the head that it was trained with, as in the paper, and no new ones",
        (Stage(1.0, ("method.name=cdc", "training.heads=1")),),
    ),
    Entry(
        "cdc-neighbors",
        "CDC for .7 of the budget, then the same network with near images as positives",
        (Stage(0.7, ("method.name=cdc",)), NEIGHBORS_STAGE),
        only="trained",
    ),
    Entry(
        "simclr-neighbors",
        "SimCLR for .7 of the budget, then CDC on the same network with near images as positives: what CDC is worth "
        "before there are neighbours",
        (Stage(0.7, ("method.name=simclr",)), NEIGHBORS_STAGE),
        only="trained",
    ),
    Entry(
        "cdc-no-neighbors",
        "CDC with two views of one image, as in the paper",
        (Stage(1.0, ("method.name=cdc", "training.neighbors=0")),),
        only="frozen",
    ),
    Entry(SUPERVISED, "training with the labels: the upper bound", (Stage(1.0, ("method.name=supervised",)),)),
)
ENTRIES = {entry.name: entry for entry in _ENTRIES}
"""What `likewise benchmark clustering` compares, by name."""


def _settings(*settings: str) -> tuple[str, ...]:
    return tuple(f"method.settings.{setting}" for setting in settings)


def _ablation(name: str, about: str, *settings: str, paper: tuple[str, str] = ("", "")) -> Entry:
    own = ("method.name=cdc", *_settings(*settings))
    # new heads at the end of a training from scratch would hide what a switch has done to the one that was trained
    one_head = Stage(1.0, (*own, "training.heads=1"))
    return Entry(
        name, about, (one_head,), (Stage(1.0, own),), published=paper[0], published_linear=paper[1], probed=True
    )


def _training_ablation(name: str, about: str, setting: str, only: Backbone) -> Entry:
    stages = (Stage(1.0, ("method.name=cdc", setting)),)
    return Entry(name, about, stages, probed=True, only=only)


def _center_ablation(name: str, about: str, *settings: str, only: Backbone | None = None) -> Entry:
    stages = (Stage(1.0, ("method.name=center", *_settings(*settings))),)
    return Entry(name, about, stages, probed=True, only=only)


_CDC_ABLATIONS = (
    _ablation(FULL, "CDC as it is", paper=(".830", ".888")),
    _ablation("no-equipartition", "targets are not balanced", "equipartition=false", paper=(".273", ".860")),
    _ablation("raw-logits", "z_c is not normalised", "unit_logits=false", paper=("diverged", "diverged")),
    _ablation("t2-1", "t2 = 1, of the cluster probabilities", "assignment_temperature=1.0", paper=(".711", ".880")),
    _ablation("t2-0.5", "t2 = .5", "assignment_temperature=0.5"),
    _ablation("no-infonce", "no contrastive loss", "contrastive_weight=0", paper=(".670", ".860")),
    _ablation("same-view-targets", "targets supervise their own view", "swap_targets=false"),
    _ablation("lambda-0.3", "lambda = .3, of the cluster loss", "cluster_weight=0.3"),
    _ablation("lambda-3", "lambda = 3", "cluster_weight=3"),
    _ablation("t1-0.1", "t1 = .1, of the contrastive loss", "temperature=0.1"),
    _ablation("t1-0.2", "t1 = .2", "temperature=0.2"),
    _ablation("t1-1", "t1 = 1", "temperature=1.0"),
    _ablation("hard-assignments", "t2 = .1 and epsilon = .05", "assignment_temperature=0.1", "epsilon=0.05"),
    _ablation("epsilon-0.02", "epsilon = .02: targets nearly hard", "epsilon=0.02"),
    _ablation("epsilon-0.3", "epsilon = .3: targets nearly equal", "epsilon=0.3"),
    _ablation("sinkhorn-1", "one iteration of Sinkhorn", "sinkhorn_iterations=1"),
    _ablation("sinkhorn-10", "ten iterations", "sinkhorn_iterations=10"),
    _training_ablation(NEW_HEADS, "the best of five new heads at the end, the default", "training.heads=5", "trained"),
    _training_ablation("one-head", "a single head instead of the best of five", "training.heads=1", "frozen"),
    _training_ablation("no-neighbors", "two views of one image, as in the paper", "training.neighbors=0", "frozen"),
)
_CENTER_ABLATIONS = (
    _center_ablation(FULL, "cluster centres as they are"),
    _center_ablation(
        "no-instance", "alpha = 0: no instance loss, and so centres from the start", "instance_weight=0", "warmup=0"
    ),
    _center_ablation("no-clustering", "beta = 0: no clustering loss", "clustering_weight=0"),
    _center_ablation("no-anchor", "gamma = 0: no anchor loss", "anchor_weight=0"),
    _center_ablation("full-anchor", "gamma = 1, as published", "anchor_weight=1", only="trained"),
    _center_ablation("no-warmup", "centres from the start, as published", "warmup=0", only="trained"),
    _center_ablation("instance-only", "alpha alone, as SimCLR", "clustering_weight=0", "anchor_weight=0"),
    _center_ablation("plain-views", "all three views are plain", "views=plain"),
    _center_ablation("augmented-views", "all three views are augmented", "views=augmented"),
)
ABLATIONS = {
    method: {entry.name: entry for entry in entries}
    for method, entries in (("cdc", _CDC_ABLATIONS), ("center", _CENTER_ABLATIONS))
}
"""The switches of each method, by its name. With those of CDC stands what its paper reports for CIFAR-10 after 1,200
epochs: accuracy, and that of a linear probe."""


def entry_named(name: str) -> Entry:
    """An entry of the table, with self-labelling after it where the name ends with `+self-label`.

    Raises:
        InputError: If there is no such entry, or nothing that self-labelling could go on from.

    Example:
        >>> [round(stage.share, 2) for stage in entry_named("scan+self-label").stages]
        [0.56, 0.24, 0.2]
    """
    base = name.removesuffix(SELF_LABEL)
    if base not in ENTRIES:
        raise unknown_name("method to compare", base, ENTRIES)
    return ENTRIES[base] if base == name else _with_self_label(ENTRIES[base])


def entries_named(names: str) -> list[Entry]:
    """The entries of a list such as `"cdc,scan"`, each once.

    Raises:
        InputError: If one of them does not exist, or there are none.
    """
    wanted = dict.fromkeys(part.strip() for part in names.split(",") if part.strip())
    if not wanted:
        raise InputError(f"which methods? Give --methods, such as --methods cdc,simclr; known: {', '.join(ENTRIES)}.")
    return [entry_named(name) for name in wanted]


def _with_self_label(entry: Entry) -> Entry:
    if not entry.stages or entry.name == SUPERVISED:
        raise InputError(f"{entry.name} leaves nothing that self-labelling could go on from.")
    return replace(
        entry,
        name=entry.name + SELF_LABEL,
        about=f"{entry.about}, then self-labelling",
        stages=_then_self_label(entry.stages),
        frozen=_then_self_label(entry.frozen) if entry.frozen else (),
    )


def _then_self_label(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    before = [replace(stage, share=stage.share * (1 - SELF_LABEL_SHARE)) for stage in stages]
    # the settings of the method stay: the network is the same one
    own = STAGE_DEFAULTS["self-label"].training
    # named, so that what is set for all trainings does not become half of the stage's own optimiser
    named = [f"training.{name}={value}" for name, value in own.items()] + ["training.heads=1"]
    return *before, Stage(SELF_LABEL_SHARE, (*stages[-1].settings, *named, "stage.name=self-label"))


def ablations_named(method: str, names: str | None) -> list[Entry]:
    """The ablations of a method in a list such as `"full,no-infonce"`; all of them for None.

    Raises:
        InputError: If one of them does not exist, or there are none of the method.
    """
    if method not in ABLATIONS:
        raise unknown_name("method with ablations", method, ABLATIONS)
    own = ABLATIONS[method]
    wanted: Iterable[str] = own if names is None else dict.fromkeys(part.strip() for part in names.split(","))
    for name in wanted:
        if name not in own:
            raise unknown_name("ablation", name, own)
    return [own[name] for name in wanted]
