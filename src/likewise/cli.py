"""The command line: a thin table of commands over the workflow. Heavy imports happen inside of the commands."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise._version import __version__
from likewise.benchmark.cli import app as benchmark_app
from likewise.errors import InputError, RunError
from likewise.wording import plural

if TYPE_CHECKING:
    from likewise.config import Recipe
    from likewise.inference import Embedded
    from likewise.runs import Assignments, RunDirectory

app = typer.Typer(
    name="likewise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Groups images that are alike, without labels.\n\nStart with `likewise demo`, or with a folder of your own: "
    "`likewise cluster photos -k 10 -o run`",
)

app.add_typer(benchmark_app, name="benchmark")

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Finished run directory.")]
OutOption = Annotated[Path | None, typer.Option("-o", "--out", help="Run directory to write; must be new.")]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        help="Train for about this long (default: what the recipe says, else 10 minutes from scratch, 3 for a stage, "
        "500 steps or more on a frozen backbone). What comes before and after is not counted: reading, features, new "
        "heads, the map."
    ),
]
EpochsOption = Annotated[float | None, typer.Option(help="Or train for this many passes over the images.")]
ClustersOption = Annotated[int | None, typer.Option("-k", "--clusters", help="How many groups to find.")]
MethodOption = Annotated[str | None, typer.Option(help="How to learn: see `likewise list methods`.")]
ViewsOption = Annotated[
    str | None,
    typer.Option(
        help="How images are augmented: see `likewise list views` (default: those of the recipe or of the run that is "
        "continued; else by image size, frozen backbone or stage)."
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Same seed, same machine: same result.")]
BatchOption = Annotated[
    int | None, typer.Option(help="Images in a training step, of all processes together (default: by their number).")
]
PrecisionOption = Annotated[str | None, typer.Option(help="auto, bf16 or fp32.")]
CompileOption = Annotated[
    bool | None, typer.Option(help="Use torch.compile (default: on a GPU that can).", show_default=False)
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any setting of `likewise list settings`, e.g. training.learning_rate=0.1"
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in -o.")]
SETS_PATH = "A folder (any depth), a text file of paths, a .npy or .npz array, or a set of `likewise list data`."


class ExportMode(StrEnum):
    """How files get into the folders of an export."""

    copy = "copy"
    symlink = "symlink"
    hardlink = "hardlink"


class Table(StrEnum):
    """What can be listed."""

    methods = "methods"
    stages = "stages"
    backbones = "backbones"
    data = "data"
    views = "views"
    recipes = "recipes"
    settings = "settings"
    comparisons = "comparisons"
    ablations = "ablations"


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"likewise {__version__}")
        raise typer.Exit


@app.command()
def cluster(
    context: typer.Context,
    path: Annotated[str | None, typer.Argument(metavar="PATH", help=SETS_PATH)] = None,
    clusters: ClustersOption = None,
    out: OutOption = None,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    backbone: Annotated[
        str | None, typer.Option(help="The network: see `likewise list backbones`, or any model of timm.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="none, pretrained, or a .safetensors or .pth file. Weights stay as they are, and a head is trained on "
            "them; --set model.frozen=false trains them further."
        ),
    ] = None,
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


@app.command()
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


@app.command()
def assign(
    run: RunArgument,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="New images: one file, or anything that `cluster` takes.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write here (.csv or .parquet), not to the screen.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also print the probability of every cluster.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="auto (as in training, close calls in fp32), bf16 (fastest) or fp32 (exact).")
    ] = "auto",
    strict: StrictOption = False,
) -> None:
    """Sort new images into the clusters of a run: CSV with image, cluster and confidence.

    Example: `likewise assign run new_photos > new.csv`
    """
    from dataclasses import replace

    from likewise.progress import printable_line, say
    from likewise.runs import RunDirectory

    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise InputError(f"-o {out}: the table is written as .csv or .parquet; choose a name that ends so.")
    table, _ = _looked_at(run, path, out, precision, strict)
    names = RunDirectory(run).names(table.num_clusters)
    if out is None:
        # a file's name may hold what commands a terminal; a program that reads gets the names as they are
        shown = replace(table, names=list(map(printable_line, table.names))) if sys.stdout.isatty() else table
        shown.write_csv(sys.stdout, probabilities, names)
    else:
        table.write(out, probabilities, names)
        say(f"{plural(len(table), 'image')}: {out}")


@app.command()
def embed(
    run: RunArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Images: one file, or anything that `cluster` takes.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Write here (.npz).")],
    precision: Annotated[str, typer.Option(help="auto (as in training, close calls in fp32), bf16 or fp32.")] = "auto",
    strict: StrictOption = False,
) -> None:
    """Write features, cluster logits and instance part of images as arrays, for search or another tool.

    Example: `likewise embed run new_photos -o new.npz`, then `numpy.load("new.npz")["features"]`
    """
    import numpy as np

    from likewise.progress import say
    from likewise.runs.files import write_arrays

    if out.suffix != ".npz":
        raise InputError(f"-o {out}: arrays are written as .npz; choose a name that ends so.")
    table, embedded = _looked_at(run, path, out, precision, strict)
    arrays = {
        "names": np.array(table.names),
        "clusters": table.clusters,
        "features": embedded.features,
        "categorical": embedded.categorical,
        "instance": embedded.instance,
    }
    write_arrays(out, arrays)
    shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in arrays.items())
    say(f"{plural(len(table), 'image')}: {out} ({shapes})")


def _looked_at(run: Path, path: str, out: Path | None, precision: str, strict: bool) -> "tuple[Assignments, Embedded]":
    """The clusters of new images and what the network says of them, where there is room for the answer."""
    from likewise.progress import say
    from likewise.runs import RunDirectory
    from likewise.runs.files import require_writable
    from likewise.workflow import assign

    if out is not None:
        if out.exists():
            raise InputError(f"{out} is there already, and nothing is overwritten; choose another file.")
        require_writable(out, "choose another place for it with -o")
    table, store, embedded = assign(RunDirectory(run), path, strict, precision)
    for skipped in store.skipped:
        say(f"left out {skipped.name}: {skipped.reason}")
    return table, embedded


@app.command()
def evaluate(
    run: RunArgument,
    labels: Annotated[str, typer.Option(help="folders, source (labels in the array or set), or a CSV of image,label.")],
    data: Annotated[str | None, typer.Option(help="Score other images than the run's own (protocol split).")] = None,
) -> None:
    """Score a run against labels: ACC, NMI, ARI, AMI, confusion and each class, beside K-means.

    Example: `likewise evaluate run --labels folders`
    """
    from likewise.report import write_report
    from likewise.runs import RunDirectory
    from likewise.scoring import evaluate
    from likewise.summary import describe_evaluation

    directory = RunDirectory(run)
    evaluation = evaluate(directory, labels, data)
    report = write_report(directory)
    typer.echo(f"{describe_evaluation(evaluation, directory.metrics())}\n\nreport: {report}")


@app.command()
def analyze(
    run: RunArgument,
    labels: Annotated[
        str | None, typer.Option(help="As for evaluate, of all images involved; without, the probes are left out.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Test on other images than the run's own (protocol split).")] = None,
) -> None:
    """Show what each part of the output knows: k-NN and linear probes, similarities, temperatures, maps.

    Example: `likewise analyze run --labels folders`
    """
    from likewise.analysis import analyze
    from likewise.report import write_report
    from likewise.runs import RunDirectory
    from likewise.summary import describe_analysis

    directory = RunDirectory(run)
    analysis = analyze(directory, labels, data)
    report = write_report(directory)
    typer.echo(f"{describe_analysis(analysis, directory.metrics())}\n\nreport: {report}")


@app.command()
def report(run: RunArgument) -> None:
    """Write the report of a run again.

    Example: `likewise report run`
    """
    from likewise.report import write_report
    from likewise.runs import RunDirectory

    typer.echo(write_report(RunDirectory(run).require_complete()))


@app.command()
def name(
    run: RunArgument,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NUMBER=NAME", help="A cluster and its name, as often as you like; 3= takes it away."),
    ] = None,
) -> None:
    """Name clusters, once you have seen them in the report. Clusters of one name become one group in exports.

    Example: `likewise name run 0=boots 3=dresses 7=boots`

    Names show in the report, in tables of `assign` and `export`, and as folders of `export --to`. Without any, the
    clusters are listed.
    """
    from likewise.report import write_report
    from likewise.runs import RunDirectory
    from likewise.runs.files import require_writable
    from likewise.runs.names import parsed_names, write_names
    from likewise.summary import describe_clusters

    directory = RunDirectory(run).require_complete()
    count = directory.assignments().num_clusters
    if names:
        require_writable(directory.names_file, "copy the run directory to a place of your own, and use it there")
        changed = directory.names(count) | parsed_names(names, count)
        write_names(directory.names_file, {cluster: called for cluster, called in changed.items() if called})
        write_report(directory)
    typer.echo(describe_clusters(directory))


@app.command()
def export(
    run: RunArgument,
    to: Annotated[
        Path | None, typer.Option(help="New folder, with a subfolder for each cluster, or for each name of clusters.")
    ] = None,
    mode: Annotated[ExportMode, typer.Option(help="How the files get there.")] = ExportMode.copy,
    csv: Annotated[Path | None, typer.Option(help="New CSV file, with all probabilities.")] = None,
) -> None:
    """Take the groups elsewhere: one folder for each cluster, or a table. Nothing is overwritten.

    Example: `likewise export run --to sorted --mode symlink`
    """
    from likewise.export import export_folders
    from likewise.runs import RunDirectory

    directory = RunDirectory(run).require_complete()
    if to is None and csv is None:
        raise InputError("export to what? Give --to FOLDER, --csv FILE, or both.")
    if csv is not None:
        if csv.exists():
            raise InputError(f"{csv} is there already, and nothing is overwritten; choose another file.")
        table = directory.assignments()
        table.write(csv, probabilities=True, cluster_names=directory.names(table.num_clusters))
        typer.echo(csv)
    if to is not None:
        count = export_folders(directory, to, mode.value)
        typer.echo(f"{plural(count, 'image')}: {to}")


@app.command("list")
def list_(
    table: Annotated[Table, typer.Argument(help="Which table.")],
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="Whose settings, or whose ablations (cdc or center).")
    ] = "cdc",
) -> None:
    """List methods, recipes, settings and whatever else there is to choose from.

    Example: `likewise list backbones`

    Every setting of a method, with its default: `likewise list settings center`. What is "open" there is decided by
    your images; the `recipe.toml` of a run says what it was.
    """
    from likewise.listing import entries

    rows = list(entries(table.value, method))
    width = max(24, *(len(name) for name, _ in rows))
    for name, description in rows:
        typer.echo(f"{name:{width}s} {description}")


@app.command()
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


def main() -> None:
    """Run the command line. Exits with 0, with 1 if something went wrong, with 2 if something was asked wrongly."""
    try:
        app()
    except InputError as error:
        _fail(str(error), 2)
    except (RunError, OSError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("stopped", 1)


def _fail(message: str, code: int) -> None:
    from likewise.progress import printable_line

    print(f"likewise: {printable_line(message)}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
