"""From the results of single jobs to one table: means over the seeds that have finished, and over nothing else."""

from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from likewise.benchmark.entries import Entry
from likewise.progress import format_seconds
from likewise.wording import plural

SCORES = ("acc", "nmi", "ari")
FURTHER = ("features_acc", "linear", "silhouette", "davies_bouldin")
COSTS = {"seconds": "trained", "images_per_second": "images/s", "epochs": "epochs", "peak_memory_mb": "peak memory"}


def summarise(entries: Sequence[Entry], results: Sequence[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """One row an entry, in the order of the entries.

    Args:
        entries: What is compared.
        results: What has been written so far, in any order; of every entry and seed at most one. A job that was
            stopped has written none.
        seeds: How many there are to be of each entry.

    Returns:
        Rows with `mean` and `std` (over seeds, None for a single one) of scores and costs over the jobs that are done,
        and those that failed with their error.
    """
    rows = []
    for entry in entries:
        own = [result for result in results if result["entry"] == entry.name]
        done = [result for result in own if result["status"] == "done"]
        others = [result for result in own if result["status"] != "done"]
        helped = (result.get("helped", "") for result in done)
        rows.append(
            {
                "name": entry.name,
                "about": "; ".join(filter(None, [entry.about, *_unique(helped), _refused(done)])),
                "published": entry.published,
                "published_linear": entry.published_linear,
                "track": done[0]["track"] if done else "",
                "num_done": len(done),
                "num_seeds": seeds,
                "failures": [{name: result[name] for name in ("seed", "status", "error")} for result in others],
                "warnings": [
                    f"seed {result['seed']}, {warning}" for result in done for warning in result.get("warnings", [])
                ],
                **{name: _statistics([result.get(name) for result in done]) for name in (*SCORES, *FURTHER, *COSTS)},
            }
        )
    return rows


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _refused(done: Sequence[dict[str, Any]]) -> str:
    """How many of the seeds are scored without their last stage; empty where none is."""
    count = sum(bool(result.get("refused")) for result in done)
    words = f"self-labelling was refused for {count} of {len(done)} seeds, and the run before it is scored"
    return words if count else ""


def _statistics(values: list[float | None]) -> dict[str, float | None]:
    numbers = [value for value in values if value is not None]
    return {
        "mean": mean(numbers) if numbers else None,
        "std": stdev(numbers) if len(numbers) > 1 else None,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table; a row that failed says so."""
    papers = {"published": "paper, CIFAR-10, ACC", "published_linear": "paper, linear"}
    papers = {name: words for name, words in papers.items() if any(row[name] for row in rows)}
    further = {
        "features_acc": "K-means, ACC",
        "linear": "linear probe",
        "silhouette": "silhouette",
        "davies_bouldin": "Davies-Bouldin",
    }
    further = {name: words for name, words in further.items() if any(row[name]["mean"] is not None for row in rows)}
    head = ["", "ACC", "NMI", "ARI", *further.values(), *COSTS.values(), "seeds", *papers.values()]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        name = f"{row['name']} (label-pretrained)" if row["track"] == "labels" else row["name"]
        cells = [name, *_scores(row), *(_score(row[name]) for name in further), *_costs(row)]
        lines.append(_line([*cells, f"{row['num_done']} of {row['num_seeds']}", *(row[name] for name in papers)]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _scores(row: dict[str, Any]) -> list[str]:
    if row["num_done"]:
        return [_score(row[name]) for name in SCORES]
    kinds = sorted({failure["status"] for failure in row["failures"]})
    return [" and ".join(kinds) or "-", "-", "-"]


def _score(value: dict[str, float | None]) -> str:
    spread = "" if value["std"] is None else f" ({_decimals(value['std'])})"
    return "-" if value["mean"] is None else f"{_decimals(value['mean'])}{spread}"


def _decimals(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _costs(row: dict[str, Any]) -> list[str]:
    seconds, speed, epochs, memory = (row[name]["mean"] for name in COSTS)
    return [
        "-" if seconds is None else format_seconds(seconds),
        "-" if speed is None else f"{speed:,.0f}",
        "-" if epochs is None else f"{epochs:,.1f}",
        "-" if memory is None else f"{memory / 1000:.1f} GB",
    ]


def document(title: str, facts: dict[str, str], rows: Sequence[dict[str, Any]], has_chart: bool) -> str:
    """The whole of results.md.

    Args:
        title: Its heading.
        facts: What the figures have to be read with, such as protocol, budget and machine.
        rows: From `summarise`.
        has_chart: Whether quality.svg lies beside it.
    """
    lines = [f"# {title}", "", table(rows), "", *(f"* {name}: {value}" for name, value in facts.items())]
    notes = [f"* {row['name']}: {row['about']}" for row in rows]
    if any(row["features_acc"]["mean"] is not None for row in rows):
        notes.append("* K-means, silhouette and Davies-Bouldin are of the backbone's features")
    if any(row["published"] for row in rows):
        notes.append(
            "* paper: what CDC's reports for CIFAR-10, with a ResNet-18 in the MoCo v2 frame, 1,200 epochs, t2 = .1: "
            "what a switch changes can be compared, figures cannot"
        )
    failures = [
        f"* {row['name']}, seed {failure['seed']}, {failure['status']}: {' '.join(failure['error'].split())}"
        for row in rows
        for failure in row["failures"]
    ]
    warnings = [f"* {row['name']}, {warning}" for row in rows for warning in row["warnings"]]
    for heading, part in (("Rows", notes), ("What did not finish", failures), ("What was noticed", warnings)):
        if part:
            lines += ["", f"## {heading}", "", *part]
    if has_chart:
        lines += ["", "## Quality over time", "", "![accuracy over time](quality.svg)"]
    return "\n".join(lines) + "\n"


def budget_words(minutes: float | None, epochs: float | None, steps: int | None = None) -> str:
    """The budget in words; one of the three is given."""
    if minutes is not None:
        amount = format_seconds(60 * minutes)
    else:
        amount = plural(steps or 0, "step") if epochs is None else f"{epochs:,g} epochs"
    return (
        f"{amount} of training for each method and seed, all stages together; features of a frozen backbone (computed "
        "once for each seed and set of views), neighbours, new heads at the end, the last K-means and scoring are not "
        "part of it"
    )
