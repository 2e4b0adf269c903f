"""The command line: a table of commands, each a thin one over the workflow."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from likewise._version import __version__
from likewise.benchmark.cli import app as benchmark_app
from likewise.cli.images import assign, embed
from likewise.cli.results import analyze, evaluate, export, name_clusters, report
from likewise.cli.training import cluster, demo, train
from likewise.errors import InputError, RunError

app = typer.Typer(
    name="likewise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Groups images that are alike, without labels.\n\nStart with `likewise demo`, or with a folder of your own: "
    "`likewise cluster photos -k 10 -o run`",
)


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


def list_(
    table: Annotated[Table, typer.Argument(help="Which table.")],
    method: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Whose settings, or whose ablations (default: cdc).")
    ] = None,
) -> None:
    """List methods, recipes, settings and whatever else there is to choose from.

    Example: `likewise list backbones`

    Every setting of a method, with its default: `likewise list settings center`. What is "open" there is decided by
    your images, and so are views (`likewise list views`); the `recipe.toml` of a run says what it was.
    """
    from likewise.listing import entries

    if method is not None and table not in (Table.settings, Table.ablations):
        raise InputError(f"a method has settings and ablations of its own, and no {table.value}; leave {method} out.")
    rows = list(entries(table.value, method or "cdc"))
    width = max(24, *(len(name) for name, _ in rows))
    for name, description in rows:
        typer.echo(f"{name:{width}s} {description}")


for command in (cluster, train, assign, embed, evaluate, analyze, report):
    app.command()(command)
app.command("name")(name_clusters)
app.command()(export)
app.command("list")(list_)
app.command()(demo)
app.add_typer(benchmark_app, name="benchmark")


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
