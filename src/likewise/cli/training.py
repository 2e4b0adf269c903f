"""Commands that train: `cluster`, `train` and `demo`. Heavy imports happen inside of the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli.results import evaluate, report
from likewise.errors import InputError, RunError
from likewise.options import (
    SETS_PATH,
    BackboneOption,
    BatchOption,
    ClustersOption,
    CompileOption,
    EpochsOption,
    MethodOption,
    MinutesOption,
    OutOption,
    PrecisionOption,
    ResumeOption,
    SeedOption,
    SetOption,
    StrictOption,
    ViewsOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from likewise.config import Recipe
    from likewise.runs import RunDirectory


def cluster(
    context: typer.Context,
    path: Annotated[str | None, typer.Argument(metavar="PATH", help=SETS_PATH)] = None,
    clusters: ClustersOption = None,
    out: OutOption = None,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    method: MethodOption = None,
    views: ViewsOption = None,
    recipe: Annotated[str | None, typer.Option(help="Start from a recipe: a name or a .toml file.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels (default: 224 with weights, else the images' own, at most 96).")
    ] = None,
    batch_size: BatchOption = None,
    seed: SeedOption = None,
    precision: PrecisionOption = None,
    compile: CompileOption = None,
    setting: SetOption = None,
    strict: StrictOption = False,
    resume: ResumeOption = False,
) -> None:
    """Group images: train on them, assign each to a cluster, write a run directory with a report.

    Example: `likewise cluster photos -k 10 -o run --minutes 20`

    Interrupted? `likewise cluster --resume -o run` goes on where it stopped, to the same result.
    """
    run = _run_in(out)
    if resume:
        _resume(run, _given(context))
        return
    if path is None:
        raise InputError(
            "which images? Give a folder, a list, an array file or a set: likewise cluster PATH -k 10 -o RUN."
        )
    changes: dict[str, Any] = {
        "method.num_clusters": clusters,
        "method.name": method,
        "views": views,
        "model.backbone": backbone,
        "model.weights": weights,
        "data.image_size": image_size,
        "data.strict": strict or None,
        "training.minutes": minutes,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.seed": seed,
        "training.precision": precision,
        "training.compile": compile,
    }
    _cluster(_recipe(recipe, changes, setting), path, run)


def train(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A name of `likewise list recipes`, or a .toml file.")
    ] = None,
    out: OutOption = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help=f"Other images than the recipe's: {SETS_PATH}")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Continue from this finished run, with its settings.")
    ] = None,
    frozen: Annotated[
        bool | None,
        typer.Option(
            help="Train only new heads on the features of that run; --no-frozen: its whole network.", show_default=False
        ),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="A further stage of training: see `likewise list stages`.")] = None,
    method: MethodOption = None,
    clusters: ClustersOption = None,
    views: ViewsOption = None,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    seed: SeedOption = None,
    precision: PrecisionOption = None,
    compile: CompileOption = None,
    setting: SetOption = None,
    strict: StrictOption = False,
    resume: ResumeOption = False,
) -> None:
    """Train what a recipe says, or go on from a finished run: with a further stage, or with another method.

    Example: `likewise train --from run --stage self-label -o run2`

    Other groups on the same features: `likewise train --from run --frozen -k 20 -o run2`

    Another method on the same backbone: `likewise train --from run --method center -o run2`

    A recipe by its name: `likewise train cdc-cifar10 -o run`
    """
    run = _run_in(out)
    if resume:
        _resume(run, _given(context))
        return
    if recipe is None and start is None:
        raise InputError("train what? Give a recipe of `likewise list recipes`, or a finished run: --from RUN.")
    if frozen is not None and start is None:
        raise InputError("--frozen and --no-frozen are about the backbone of a finished run: name it with --from RUN.")
    changes: dict[str, Any] = {
        "data.source": data,
        "model.frozen": frozen,
        "stage.name": stage,
        "method.name": method,
        "method.num_clusters": clusters,
        "views": views,
        "data.strict": strict or None,
        "training.minutes": minutes,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.seed": seed,
        "training.precision": precision,
        "training.compile": compile,
    }
    made = _recipe(recipe, changes, setting, start)
    if not made.data.source:
        raise InputError(
            "which images? The recipe names none: give --data PATH, or a finished run to go on from: --from RUN."
        )
    _cluster(made, made.data.source, run)


def _run_in(out: Path | None) -> "RunDirectory":
    from likewise.runs import RunDirectory

    if out is None:
        raise InputError("where should the run go? Give -o RUN, such as -o run.")
    return RunDirectory(out)


def _recipe(
    origin: str | None, changes: dict[str, Any], settings: list[str] | None, start: Path | None = None
) -> "Recipe":
    if changes["training.minutes"] is not None and changes["training.epochs"] is not None:
        raise InputError("--minutes and --epochs both say how long to train; give one of them.")
    from likewise.recipe_book import make_recipe

    given = {name: value for name, value in changes.items() if value is not None}
    return make_recipe(origin, given, settings or [], start)


def _cluster(recipe: "Recipe", data: str, run: "RunDirectory", resume: bool = False) -> None:
    from likewise.ranks import rank
    from likewise.report import write_report
    from likewise.summary import describe_run
    from likewise.training.fit import interrupted
    from likewise.workflow import cluster

    if "num_clusters" not in recipe.method.model_fields_set:
        raise InputError("how many groups? Give -k, such as -k 10.")
    try:
        cluster(recipe, data, run, resume)
    except KeyboardInterrupt as stop:  # before or after the training, which says so itself
        raise interrupted(run.path) if run.is_started else RunError("stopped before anything was trained.") from stop
    if rank() != 0:
        raise typer.Exit
    report = write_report(run)
    typer.echo(f"\n{describe_run(run)}\n\nreport: {report}")


def _given(context: typer.Context) -> list[str]:
    """What stands on the command line, beside -o and --resume, as it is called there."""
    return [
        max(parameter.opts, key=len) if parameter.param_type_name == "option" else str(parameter.metavar)
        for parameter in context.command.params
        if parameter.name not in ("out", "resume")
        and getattr(context.get_parameter_source(str(parameter.name)), "name", "") == "COMMANDLINE"
    ]


def _resume(run: "RunDirectory", left_aside: list[str]) -> None:
    from likewise.config import Recipe
    from likewise.progress import say

    if run.is_complete and not run.report_file.is_file():
        say("the run has finished; writing its report, which is missing")
        report(run.path)
        return
    if run.is_complete:
        raise InputError(f"the run in {run.path} has finished; look at {run.report_file}.")
    if not run.is_started:
        raise InputError(f"there is no run in {run.path} to go on with.")
    recipe = Recipe.read(run.recipe_file)
    if not recipe.data.source:
        raise InputError(
            "this run was made from images in memory; go on with it from Python: "
            f"ImageClusterer(..., run_dir={str(run.path)!r}).fit(images, resume=True)"
        )
    if left_aside:
        say(f"the run goes on as it began, by its recipe.toml; left aside: {', '.join(left_aside)}")
    if not run.checkpoint_file.is_file():
        say("there is no checkpoint yet; starting again")
    _cluster(recipe, recipe.data.source, run, resume=True)


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("-o", "--out", help="Run directory.")] = Path("demo-run"),
    minutes: Annotated[float, typer.Option(help="Train for about this long.")] = 2.85,
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same result.")] = 0,
) -> None:
    """Group the 5,000 pictures of clothes that come with likewise, and score the groups. Takes about four minutes.

    Example: `likewise demo`
    """
    from likewise.recipe_book import make_recipe
    from likewise.runs import RunDirectory
    from likewise.summary import describe_evaluation

    run = RunDirectory(out)
    if run.is_complete and run.metrics().get("evaluations"):
        typer.echo(
            f"{describe_evaluation(run.metrics()['evaluations'][0], run.metrics())}\n\nreport: {run.report_file}"
        )
        typer.echo(f"This is the run that lies in {out}; delete it or give another -o to train anew.")
        return
    if not run.is_complete:
        recipe = make_recipe("fashion-mnist-demo", {"training.minutes": minutes, "training.seed": seed}, [])
        _cluster(recipe, "fashion-mnist-5k", run) if not run.is_started else _resume(run, _given(context))
    evaluate(out, "source")
