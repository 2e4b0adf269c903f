"""Recipes by name, and changes to them."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from likewise.config import Recipe
from likewise.errors import InputError, unknown_name
from likewise.views.config import VIEWS

_LENGTHS = {"training.epochs", "training.minutes", "training.steps"}


def recipe_files() -> dict[str, Path]:
    """The recipes that come along, by name."""
    packaged = Path(str(resources.files("likewise"))) / "recipes"
    # in a checkout they lie beside the source
    folder = packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def describe_recipe(path: Path) -> str:
    """The first comment line of a recipe."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()


def make_recipe(origin: str | None, given: dict[str, Any], settings: list[str]) -> Recipe:
    """A recipe from a starting point and changes.

    Args:
        origin: A name, a TOML file, or None for the defaults.
        given: Values by dotted name, such as `{"training.seed": 1}`; `"views"` may name a set of them.
        settings: The same as text, such as `["training.seed=1"]`; they come last.

    Raises:
        InputError: If a name is unknown or a value is not allowed.

    Example:
        >>> make_recipe(None, {"method.num_clusters": 5}, ["training.seed=3"]).training.seed
        3
    """
    tables = _start(origin)
    if isinstance(given.get("views"), str):
        given = given | {"views": _named_views(given["views"])}
    settled = dict(map(_parsed, settings))
    for name, value in [*given.items(), *settled.items()]:
        *sections, last = name.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise InputError(f"--set {name}: {section} is a value, not a section of the recipe.")
        table[last] = value
    # a length that was given takes the place of the one in the recipe, and one that was set that of both
    for lengths in (_LENGTHS & settled.keys(), _LENGTHS & given.keys()):
        if lengths and isinstance(tables["training"], dict):
            for name in _LENGTHS - lengths:
                tables["training"].pop(name.partition(".")[2], None)
            if "training.hold_steps" not in settled:
                tables["training"].pop("hold_steps", None)  # it belonged to the length that was replaced
            break
    return Recipe.parse(tables)


def _start(origin: str | None) -> dict[str, Any]:
    if origin is None:
        return {}
    known = recipe_files()
    path = known.get(origin, Path(origin))
    if not path.is_file():
        raise unknown_name("recipe", origin, known)
    Recipe.read(path)  # says what is wrong with it, if anything is
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _named_views(name: str) -> dict[str, Any]:
    if name not in VIEWS:
        raise unknown_name("set of views", name, VIEWS)
    return VIEWS[name][0].model_dump()


def _parsed(setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise InputError(f"--set {setting}: give NAME=VALUE, such as training.seed=1.")
    try:
        return name, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return name, text
