"""How a run was made: its recipe, the machine and what training took."""

import json
import tomllib
from dataclasses import dataclass
from typing import Any

from likewise.progress import format_seconds
from likewise.report.reading import flat, number, plain, table
from likewise.runs import RunDirectory
from likewise.wording import compact, heading, percent

_MOST_RECIPE = 20_000
_MOST_ROWS = 80
_SHARES = ("largest_share", "confident_90", "confident_99")
_APART = ("evaluations", "analysis", "training", "clustering", "geometry", "machine", "warnings")


@dataclass(frozen=True)
class Panel:
    """A titled list of names and values."""

    title: str
    rows: list[tuple[str, str]]


def read_recipe(run: RunDirectory) -> str:
    """The text of the recipe; empty where there is none."""
    if not run.recipe_file.is_file():
        return ""
    return run.recipe_file.read_text(encoding="utf-8", errors="replace")[:_MOST_RECIPE]


def parsed(recipe: str) -> dict[str, Any]:
    """The recipe as tables; empty where it is not TOML."""
    try:
        return tomllib.loads(recipe)
    except (ValueError, RecursionError):
        return {}


def settings(recipe: dict[str, Any], metrics: dict[str, Any]) -> list[Panel]:
    """Panels for the recipe's tables, the numbers of training and clustering, and the machine."""
    loose = {name: value for name, value in recipe.items() if not isinstance(value, dict)}
    tables = [(f"Recipe: {name}", inner) for name, inner in recipe.items() if isinstance(inner, dict)]
    panels = [Panel(plain(title, 60), _written(inner)) for title, inner in [("Recipe", loose), *tables][:24]]
    rest = {name: value for name, value in metrics.items() if name not in _APART}
    panels += [
        Panel("Training", _numbers(table(metrics.get("training")))),
        Panel("Clustering", _numbers(table(metrics.get("clustering")))),
        Panel("Machine", _said(table(metrics.get("machine")))),
        Panel("Run", _numbers(rest)),
    ]
    return [panel for panel in panels if panel.rows]


def _written(source: dict[str, Any], inside: str = "") -> list[tuple[str, str]]:
    """Names and values as `--set` takes them, but for what is too long to be shown."""
    rows: list[tuple[str, str]] = []
    for name, value in source.items():
        if isinstance(value, dict):
            rows += [] if inside else _written(value, f"{name}.")
        else:
            # what JSON says of numbers, truth and lists, TOML says as well
            said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            rows.append((plain(f"{inside}{name}", 80), plain(said, 300)))
    return [(name, said) for name, said in rows if said][:_MOST_ROWS]


def _said(source: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), said) for name, said in list(flat(source))[:_MOST_ROWS]]


def _numbers(source: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values; lists, which have charts of their own, are left out."""
    single = {name: value for name, value in source.items() if not isinstance(value, list)}
    spoken = {name: _spoken(name, number(value)) for name, value in single.items()}
    return [(heading(name), spoken.get(name) or said) for name, said in list(flat(single))[:_MOST_ROWS]]


def _spoken(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.endswith("seconds"):
        return format_seconds(value) if 1 <= value < 1e9 else f"{value:.2g} s"
    if name in _SHARES and 0 <= value <= 1:
        return percent(value)
    return compact(value)
