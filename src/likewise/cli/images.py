"""Commands that put new images through a finished run: `assign` and `embed`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.errors import InputError
from likewise.options import RunArgument, StrictOption
from likewise.wording import plural

if TYPE_CHECKING:
    from likewise.inference import Embedded
    from likewise.runs import Assignments


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
    directory = RunDirectory(run).require_complete()
    names = directory.names(directory.assignments().num_clusters)  # first: a damaged file should be said before work
    table, _ = _looked_at(run, path, out, precision, strict)
    if out is None:
        # a file's name may hold what commands a terminal; a program that reads gets the names as they are
        shown = replace(table, names=list(map(printable_line, table.names))) if sys.stdout.isatty() else table
        shown.write_csv(sys.stdout, probabilities, names)
    else:
        table.write(out, probabilities, names)
        say(f"{plural(len(table), 'image')}: {out}")


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
