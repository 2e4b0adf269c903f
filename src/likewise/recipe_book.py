"""Recipes by name, and changes to them."""

import tomllib
from collections.abc import Iterable
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any

from likewise.config import Recipe, suggested_views
from likewise.errors import InputError, unknown_name
from likewise.runs import RunDirectory
from likewise.views.config import VIEWS

LENGTHS = ("epochs", "minutes", "steps")  # settings of `[training]` of which a budget has one
OF_LENGTH = (*LENGTHS, "hold_steps")  # those that go with it
OF_METHOD = ("neighbors", "heads")  # those that only some methods have
_LENGTHS = {f"training.{name}" for name in LENGTHS}
# what follows from the length, the images and the machine
_NOT_CARRIED = {*OF_LENGTH, "batch_size", "precision", "compile"}


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


def make_recipe(
    origin: str | dict[str, Any] | None, given: dict[str, Any], settings: list[str], start: Path | None = None
) -> Recipe:
    """A recipe from a starting point and changes.

    Args:
        origin: A name, a TOML file, tables from `recipe_tables`, or None for the defaults.
        given: Values by dotted name, such as `{"training.seed": 1}`; `"views"` may name a set of them. With another
            method than the starting point's, that one's settings are left out, and where it is named its neighbours and
            heads.
        settings: The same as text, such as `["training.seed=1"]`; they come last.
        start: A finished run to go on from: what is not said otherwise is as in its recipe, but for its length.

    Raises:
        InputError: If a name is unknown or a value is not allowed, or the run to start from has not finished.

    Example:
        >>> make_recipe(None, {"method.num_clusters": 5}, ["training.seed=3"]).training.seed
        3
    """
    tables = deepcopy(origin) if isinstance(origin, dict) else recipe_tables(origin)
    settled = dict(map(_parsed, settings))
    own = Recipe.parse(tables).method
    if settled.get("method.name", given.get("method.name", own.name)) != own.name:
        tables.get("method", {}).pop("settings", None)  # of CDC, where none is named
        if "name" in own.model_fields_set:
            leave_out(tables, OF_METHOD)
    if isinstance(given.get("views"), str):
        # a set of views says what they look like, not how large they are
        size = {name: value for name, value in tables.get("views", {}).items() if name == "size"}
        given = given | {"views": size | _named_views(given["views"])}
    # a length that was given takes the place of the one in the recipe, and one that was set that of both
    if _LENGTHS & (given.keys() | settled.keys()):
        leave_out(tables, OF_LENGTH)
    if _LENGTHS & settled.keys():
        given = {name: value for name, value in given.items() if name not in _LENGTHS}
    for name, value in [*given.items(), *settled.items()]:
        *sections, last = name.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise InputError(f"--set {name}: {section} is a value, not a section of the recipe.")
        table[last] = value
    if start is not None:
        tables = _merged(_of_run(start, Recipe.parse(tables)), tables)
    return Recipe.parse(tables)


def leave_out(tables: dict[str, Any], names: Iterable[str]) -> None:
    """Take settings of `[training]` out of a recipe, in place."""
    for name in names:
        tables.get("training", {}).pop(name, None)


def recipe_tables(origin: str | None) -> dict[str, Any]:
    """What a recipe says, as nested tables; empty for None.

    Args:
        origin: A name or a TOML file.

    Raises:
        InputError: If there is no such recipe, or it is not one.
    """
    if origin is None:
        return {}
    known = recipe_files()
    path = known.get(origin, Path(origin))
    if not path.is_file():
        raise unknown_name("recipe", origin, known)
    Recipe.read(path)  # says what is wrong with it, if anything is
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _of_run(start: Path, asked: Recipe) -> dict[str, Any]:
    """What carries over from a finished run: its data, views, network and method, and how it was trained.

    Not its length, batch and what followed from them or from its machine, nor a number of heads or of
    cached views that nobody chose. Another method has settings and an optimiser of its own, and a stage, or a backbone
    that is now frozen or no longer, views as well. So has what comes after a stage.
    """
    run = RunDirectory(start).require_complete()
    before = Recipe.read(run.recipe_file)
    sizes, heads = _unasked(before)
    tables = before.model_dump(mode="json", exclude_none=True, exclude={"version", "stage"})
    kept, method, frozen = tables["training"].keys() - _NOT_CARRIED, tables["method"], tables["model"]["frozen"]
    another = "name" in asked.method.model_fields_set and asked.method.name != method["name"]
    refrozen = asked.model.frozen not in (None, frozen)
    regrouped = "num_clusters" in asked.method.model_fields_set and asked.method.num_clusters != method["num_clusters"]
    if asked.stage.name or before.stage.name or refrozen:
        tables["views"] = {"size": tables["views"]["size"]}
    if asked.stage.name or before.stage.name or refrozen or another:
        # a head that has had neighbours leaves a network that may go on with them
        kept = {"seed", *(["neighbors"] if refrozen and frozen and not another else [])}
    if before.model.cached_views == suggested_views(before.training.neighbors):
        del tables["model"]["cached_views"]
    if another:
        del method["settings"]
    elif refrozen or regrouped:
        method["settings"] = _without_suggestions(before)
    if regrouped:
        kept -= {"neighbors"}  # which are at most a part of a fair cluster
    if before.training.heads == heads:
        kept -= {"heads"}
    if "settings" in method:
        # images, batch and processes may be others now
        method["settings"] = {name: value for name, value in method["settings"].items() if sizes.get(name) != value}
    tables["training"] = {name: tables["training"][name] for name in kept & tables["training"].keys()}
    tables["model"]["start"] = str(run.path.absolute())  # a resume may be started from elsewhere
    return tables


def _unasked(recipe: Recipe) -> tuple[dict[str, Any], int | None]:
    """What a run would have taken if nobody had said it: settings that follow from its images and batch, and heads."""
    from likewise.methods import METHODS

    choice, frozen = recipe.method, bool(recipe.model.frozen)
    if choice.name not in METHODS:
        return {}, recipe.training.heads
    method = METHODS[choice.name][0]
    sizes = method.suggest_sizes(recipe.data.num_images, recipe.training.batch_size, choice.settings)
    return sizes, 1 if recipe.stage.name else method.suggest_heads(frozen, choice.settings)


def _without_suggestions(recipe: Recipe) -> dict[str, Any]:
    """The settings of a run without those that followed from its number of clusters and its backbone."""
    from likewise.methods import METHODS

    method = recipe.method
    if method.name not in METHODS:
        return method.settings
    # as of a new backbone, from which it may have come through other runs
    suggested = METHODS[method.name][0].suggest(method.num_clusters, bool(recipe.model.frozen), {}, new=True)
    return {name: value for name, value in method.settings.items() if suggested.get(name) != value}


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both tables as one; where both have a value, that of `over`."""
    merged = under | over
    for name in under.keys() & over.keys():
        if isinstance(under[name], dict) and isinstance(over[name], dict):
            merged[name] = _merged(under[name], over[name])
    return merged


def _named_views(name: str) -> dict[str, Any]:
    if name not in VIEWS:
        raise unknown_name("set of views", name, VIEWS)
    return VIEWS[name][0].model_dump(exclude={"size"})


def _parsed(setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise InputError(f"--set {setting}: give NAME=VALUE, such as training.seed=1.")
    try:
        return name, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return name, text
