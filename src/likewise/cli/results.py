"""Commands on what a finished run has found: scores, analysis, report, names, exports."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from likewise.errors import InputError
from likewise.options import RunArgument
from likewise.wording import plural


class ExportMode(StrEnum):
    """How files get into the folders of an export."""

    copy = "copy"
    symlink = "symlink"
    hardlink = "hardlink"


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


def report(run: RunArgument) -> None:
    """Write the report of a run again.

    Example: `likewise report run`
    """
    from likewise.report import write_report
    from likewise.runs import RunDirectory

    typer.echo(write_report(RunDirectory(run).require_complete()))


def name_clusters(
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
