"""What `likewise list` prints: the tables of the package, name and description."""

from collections.abc import Iterator


def entries(table: str) -> Iterator[tuple[str, str]]:
    """Name and one line of every entry of a table.

    Args:
        table: `"methods"`, `"stages"`, `"backbones"`, `"data"`, `"views"` or `"recipes"`.
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
    else:
        from likewise.recipe_book import describe_recipe, recipe_files

        yield from ((name, describe_recipe(file)) for name, file in recipe_files().items())
