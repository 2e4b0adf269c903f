"""What can be compared. A new one is one line in a table."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from likewise.defaults import STAGE_DEFAULTS
from likewise.errors import InputError, unknown_name

SELF_LABEL = "+self-label"
SUPERVISED = "supervised"
SELF_LABEL_SHARE = 0.2


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        share: Of the budget, in 0..1.
        settings: What differs from the recipe that all share, as `NAME=VALUE`.
    """

    share: float
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One row of a comparison.

    Attributes:
        name: In the table, and of its folder.
        about: One line.
        stages: Trainings, each of which starts from the network of the one before; none for a clustering of pixels.
        published: What the paper reports for it, if anything.
    """

    name: str
    about: str
    stages: tuple[Stage, ...] = ()
    published: str = ""


# SCAN's own optimiser and rate (arXiv 2005.12320): a head on finished features wants small steps
SCAN_STAGE = Stage(0.3, ("method.name=scan", "training.optimizer=adamw", "training.learning_rate=1e-4"))

# the centres start where K-means finds clusters, which takes features that mean something
CENTER_STAGES = (
    Stage(
        0.5,
        (
            "method.name=center",
            "method.settings.clustering_weight=0",
            "method.settings.anchor_weight=0",
        ),
    ),
    Stage(0.5, ("method.name=center",)),
)

_ENTRIES = (
    Entry("kmeans-pixels", "K-means on pixels"),
    Entry("spectral-pixels", "spectral clustering on pixels, on a graph of at most 5,000 images"),
    Entry("simclr", "SimCLR, then K-means on its features", (Stage(1.0, ("method.name=simclr",)),)),
    Entry("moco-v2", "MoCo v2, then K-means on its features", (Stage(1.0, ("method.name=moco-v2",)),)),
    Entry("scan", "SimCLR for .7 of the budget, then SCAN", (Stage(0.7, ("method.name=simclr",)), SCAN_STAGE)),
    Entry("center", "cluster centres, after half of the budget without them", CENTER_STAGES),
    Entry("cdc", "CDC", (Stage(1.0, ("method.name=cdc",)),)),
    Entry(SUPERVISED, "training with the labels: the upper bound", (Stage(1.0, ("method.name=supervised",)),)),
)
ENTRIES = {entry.name: entry for entry in _ENTRIES}
"""What `likewise benchmark clustering` compares, by name."""


def _ablation(name: str, about: str, published: str, *settings: str) -> Entry:
    return Entry(name, about, (Stage(1.0, ("method.name=cdc", *settings)),), published)


_ABLATIONS = (
    _ablation("full", "CDC as it is", ".830"),
    _ablation("no-equipartition", "targets are not balanced", ".273", "method.settings.equipartition=false"),
    _ablation("raw-logits", "z_c is not normalised", "diverged", "method.settings.unit_logits=false"),
    _ablation("warm-assignments", "t2 = 1", ".711", "method.settings.assignment_temperature=1.0"),
    _ablation("no-infonce", "no contrastive loss", ".670", "method.settings.contrastive_weight=0"),
    _ablation("same-view-targets", "targets supervise their own view", "", "method.settings.swap_targets=false"),
)
ABLATIONS = {entry.name: entry for entry in _ABLATIONS}
"""The switches of CDC, with the clustering accuracy that its paper reports for CIFAR-10 (1,200 epochs)."""


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
    before = [replace(stage, share=stage.share * (1 - SELF_LABEL_SHARE)) for stage in entry.stages]
    # the settings of the method stay: the network is the same one
    own = STAGE_DEFAULTS["self-label"].training
    # named, so that what is set for all trainings does not become half of the stage's own optimiser
    named = [f"training.{name}={value}" for name, value in own.items()]
    last = Stage(SELF_LABEL_SHARE, (*entry.stages[-1].settings, *named, "stage.name=self-label"))
    return replace(
        entry, name=entry.name + SELF_LABEL, about=f"{entry.about}, then self-labelling", stages=(*before, last)
    )


def ablations_named(names: str | None) -> list[Entry]:
    """The ablations of a list such as `"full,no-infonce"`; all of them for None."""
    wanted: Iterable[str] = ABLATIONS if names is None else dict.fromkeys(part.strip() for part in names.split(","))
    for name in wanted:
        if name not in ABLATIONS:
            raise unknown_name("ablation", name, ABLATIONS)
    return [ABLATIONS[name] for name in wanted]
