"""`likewise benchmark`: the commands that compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.errors import InputError
from likewise.options import BackboneOption, BatchOption, WeightsOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from likewise.benchmark.entries import Entry
    from likewise.benchmark.setup import Setup

app = typer.Typer(
    name="benchmark",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Compare methods on images with labels: same network, same views, same time.",
)

DataOption = Annotated[str, typer.Option("--data", metavar="PATH", help="Images, as `likewise cluster` takes them.")]
LabelsOption = Annotated[
    str, typer.Option(help="folders, source (labels in the array or set), or a CSV of image,label.")
]
ClustersOption = Annotated[
    int | None, typer.Option("-k", "--clusters", help="How many groups to find (default: as many as the recipe).")
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPE",
        help="What all trainings start from: a name of `likewise list recipes`, or a .toml file. Its network, views, "
        "optimiser, batch and length hold for all of them, the settings of its method for that method.",
    ),
]
TestOption = Annotated[str | None, typer.Option(help="Score these images instead (protocol split).")]
MinutesOption = Annotated[
    float | None, typer.Option(help="Training time of each method and seed (default: the recipe's, or 5).")
]
EpochsOption = Annotated[float | None, typer.Option(help="A budget in passes over the images instead.")]
SeedsOption = Annotated[int, typer.Option(help="How often each is trained, with the seeds 0, 1, ...")]
OutOption = Annotated[Path, typer.Option("-o", "--out", help="Folder for runs and results.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting of the recipe, for all of them; METHOD:NAME=VALUE, such as "
        "cdc:method.settings.frame=moco-v2, for the trainings of one method.",
    ),
]


@app.command()
def clustering(
    data: DataOption,
    labels: LabelsOption,
    clusters: ClustersOption = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Which, with commas: see `likewise list comparisons`. Those that train without labels may end with "
            "+self-label."
        ),
    ] = "kmeans-pixels,simclr,scan,cdc",
    recipe: RecipeOption = None,
    test: TestOption = None,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 3,
    out: OutOption = Path("benchmark"),
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    batch_size: BatchOption = None,
    setting: SetOption = None,
) -> None:
    """Methods side by side, each with the same time to train.

    Example: `likewise benchmark clustering --data photos --labels folders -k 10 --methods cdc,simclr -o compared`

    As a paper trained: `likewise benchmark clustering --recipe cdc-cifar10 --data cifar10:train --labels source`

    Interrupted? The same command goes on with what is left.
    """
    from likewise.benchmark.entries import entries_named

    setup = _setup(data, labels, clusters, recipe, test, minutes, epochs, backbone, weights, batch_size, setting)
    _compare("Clustering methods", setup, entries_named(methods), seeds, out)


@app.command()
def ablation(
    data: DataOption,
    labels: LabelsOption,
    clusters: ClustersOption = None,
    method: Annotated[str, typer.Option(help="Of which method: cdc or center.")] = "cdc",
    switches: Annotated[
        str | None, typer.Option(help="Which, with commas: see `likewise list ablations` (default: all).")
    ] = None,
    recipe: RecipeOption = None,
    test: TestOption = None,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 3,
    out: OutOption = Path("ablation"),
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    batch_size: BatchOption = None,
    setting: SetOption = None,
) -> None:
    """Remove or change one part of a method at a time; CDC beside the figures of its paper.

    Example: `likewise benchmark ablation --data photos --labels folders -k 10 --minutes 10 -o ablation`

    As a paper trained: `likewise benchmark ablation --recipe cdc-cifar10 --data cifar10:train --labels source`
    """
    from likewise.benchmark.entries import ablations_named

    setup = _setup(data, labels, clusters, recipe, test, minutes, epochs, backbone, weights, batch_size, setting)
    entries = ablations_named(method, switches)
    _compare(f"Ablations of {method}", setup, entries, seeds, out, pin=method)


def _setup(
    data: str,
    labels: str,
    clusters: int | None,
    recipe: str | None,
    test: str | None,
    minutes: float | None,
    epochs: float | None,
    backbone: str | None,
    weights: str | None,
    batch_size: int | None,
    setting: list[str] | None,
) -> "Setup":
    from likewise.benchmark.setup import Setup
    from likewise.recipe_book import make_recipe

    if minutes is not None and epochs is not None:
        raise InputError("--minutes and --epochs both say how long to train; give one of them.")
    base, steps = make_recipe(recipe, {}, []), None
    if clusters is None:
        if "num_clusters" not in base.method.model_fields_set:
            raise InputError("how many groups? Give -k, such as -k 10.")
        clusters = base.method.num_clusters
    if minutes is None and epochs is None:
        minutes, epochs = base.training.minutes, base.training.epochs
    if minutes is None and epochs is None:
        steps = base.training.steps
        minutes = 5.0 if steps is None else None
    changes: dict[str, Any] = {
        "model.backbone": backbone,
        "model.weights": weights,
        "training.batch_size": batch_size,
    }
    return Setup(
        data=data,
        labels=labels,
        num_clusters=clusters,
        test=test,
        minutes=minutes,
        epochs=epochs,
        steps=steps,
        recipe=recipe,
        given={name: value for name, value in changes.items() if value is not None},
        settings=tuple(setting or ()),
    )


def _compare(title: str, setup: "Setup", entries: "Sequence[Entry]", seeds: int, out: Path, pin: str = "") -> None:
    from likewise.benchmark.clustering import benchmark

    summary = benchmark(title, setup, entries, seeds, out, pin)
    typer.echo(f"{summary['table']}\n\nresults: {out / 'results.md'}")
