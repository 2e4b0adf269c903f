"""What `likewise list` prints: the tables of the package, name and description."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any


def entries(table: str, method: str = "cdc") -> Iterator[tuple[str, str]]:
    """Name and one line of every entry of a table.

    Args:
        table: `"methods"`, `"stages"`, `"backbones"`, `"data"`, `"views"`, `"recipes"`, `"settings"`, `"comparisons"`
            or `"ablations"`.
        method: Whose settings or ablations.

    Raises:
        InputError: If there is no such method, or it has no ablations.
    """
    if table == "methods":
        from likewise.methods import METHODS

        yield from ((name, about) for name, (_, about) in METHODS.items())
    elif table == "stages":
        from likewise.methods import STAGES

        yield from ((name, about) for name, (_, about) in STAGES.items())
    elif table == "backbones":
        from likewise.models import BACKBONES

        yield from ((name, about) for name, (_, about) in BACKBONES.items())
        yield "resnet18, vit_small, ...", "every model of timm by its name, untrained or with --weights pretrained"
    elif table == "data":
        from likewise.data import SETS, SOURCES

        yield from ((name, kind.description) for name, kind in SOURCES.items() if name != "memory")
        yield from ((name, named.description) for name, named in SETS.items())
    elif table == "views":
        from likewise.views import VIEWS

        yield from ((name, about) for name, (_, about) in VIEWS.items())
    elif table == "recipes":
        from likewise.recipe_book import describe_recipe, recipe_files

        yield from ((name, describe_recipe(file)) for name, file in recipe_files().items())
    elif table == "settings":
        yield from _settings(method)
    elif table == "comparisons":
        from likewise.benchmark.entries import ENTRIES

        yield from ((entry.name, entry.about) for entry in ENTRIES.values())
    else:
        from likewise.benchmark.entries import ablations_named

        yield from ((entry.name, entry.about) for entry in ablations_named(method, None))


def _settings(method: str) -> Iterator[tuple[str, str]]:
    """Everything that `--set` reaches, as a recipe names it, with its default."""
    from likewise.config import Recipe
    from likewise.errors import unknown_name
    from likewise.methods import METHODS, STAGES

    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    chosen = METHODS[method][0]
    for section, field in Recipe.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _fields(section, field.annotation)
        if section == "method":
            yield from _fields("method.settings", chosen.Config, chosen.suggest(10, frozen=False, given={}))
        if section == "stage":
            for stage, _ in STAGES.values():
                yield from _fields("stage.settings", stage.Config)


def _fields(section: str, model: Any, suggested: Mapping[str, Any] = MappingProxyType({})) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        if name == "settings":
            continue
        default = "open" if field.default is None else json.dumps(field.default)
        if name in suggested:
            default += f", or {json.dumps(suggested[name])} for 10 clusters from scratch"
        yield f"{section}.{name}", f"[{default}] {field.description}"
