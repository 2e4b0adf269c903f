"""From a run directory to its report."""

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.report.clusters import OPEN_CARDS, cluster_cards
from likewise.report.curves import curves
from likewise.report.geometry import geometries
from likewise.report.palette import rules
from likewise.report.parts import knowledge
from likewise.report.pictures import Pictures
from likewise.report.reading import optional, plain, table
from likewise.report.scatter import scatter, script_json
from likewise.report.scores import evaluations
from likewise.report.settings import parsed, read_recipe, settings
from likewise.report.sizes import cluster_sizes
from likewise.report.summary import summary
from likewise.runs import RunDirectory
from likewise.runs.files import write_text

if TYPE_CHECKING:
    from jinja2 import Template

_SCRIPTS = ("page.js", "points.js", "gestures.js", "map.js")
_MOST_SKIPPED = 200


def write_report(run: RunDirectory) -> Path:
    """Write the report of a run: one HTML file that needs nothing else, and trusts nothing it was made from.

    Args:
        run: A run with assignments. Everything else in it is optional, and a section without its file is left out.

    Returns:
        The file that was written, `run.report_file`.

    Raises:
        InputError: If the assignments or the metrics are damaged.
    """
    write_text(run.report_file, render(run))
    return run.report_file


def render(run: RunDirectory) -> str:
    """The report of a run as HTML."""
    page = _template().render(_content(run))
    # a lone surrogate from a JSON escape has no UTF-8
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _template() -> "Template":
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader({"template.html": _asset("template.html"), "macros.html": _asset("macros.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html")


def _content(run: RunDirectory) -> dict[str, Any]:
    problems: list[str] = []
    assignments, metrics = run.assignments(), run.metrics()
    recipe_text = optional(lambda: read_recipe(run), "", run.recipe_file.name, problems)
    recipe = parsed(recipe_text)
    skipped = optional(run.skipped, [], run.skipped_file.name, problems)
    thumbnails = optional(run.thumbnails, {}, run.thumbnails_file.name, problems)
    if not run.thumbnails_file.is_file():
        problems.append(f"{run.thumbnails_file.name} is missing, and the report is without pictures.")
    maps = optional(run.maps, None, run.maps_file.name, problems)
    pictures = Pictures(thumbnails, len(assignments))
    names = optional(lambda: run.names(assignments.num_clusters), {}, run.names_file.name, problems)
    cards = cluster_cards(assignments, pictures, names) if len(assignments) else []
    points = scatter(assignments, pictures, names) if len(assignments) else None
    return {
        "head": summary(run, assignments, metrics, recipe, len(skipped)),
        "cards": cards,
        "open_cards": OPEN_CARDS,
        "pictures_cut": pictures.is_exhausted,
        "map": points,
        "head_replaced": table(metrics.get("training")).get("head_replaced") is True,
        "curves": optional(lambda: curves(run.log()), [], run.log_file.name, problems),
        "sizes": cluster_sizes(assignments) if len(assignments) else None,
        "geometries": geometries(metrics),
        "evaluations": evaluations(metrics),
        "knowledge": knowledge(metrics, maps, assignments),
        "panels": settings(recipe, metrics),
        "recipe": "\n".join(plain(line, 400) for line in recipe_text.splitlines()),
        "skipped": [(plain(str(name)), plain(str(reason))) for name, reason in skipped[:_MOST_SKIPPED]],
        "num_skipped": len(skipped),
        "problems": problems,
        **_inlined(assignments.num_clusters, points.payload if points else None),
    }


def _inlined(num_clusters: int, payload: dict[str, Any] | None) -> dict[str, Any]:
    """Style, script and data, which alone enter the page unescaped, and the policy that allows only these."""
    from markupsafe import Markup

    style = _asset("style.css") + rules(num_clusters)
    script = '"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS)
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    return {
        "style": Markup(style),
        "script": Markup(script),
        "policy": policy,
        "map_data": Markup(script_json(payload)),
    }


def _digest(text: str) -> str:
    """How a content security policy names a text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _asset(name: str) -> str:
    return resources.files("likewise.report").joinpath(name).read_text(encoding="utf-8")
