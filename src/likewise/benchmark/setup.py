"""What all rows of a comparison share, and what it makes of the recipe of one."""

from dataclasses import dataclass, field, replace
from typing import Any

from likewise.assembly import method_config
from likewise.config import Recipe
from likewise.data import open_source
from likewise.defaults import check_counts, with_model
from likewise.errors import InputError
from likewise.recipe_book import LENGTHS, OF_METHOD, leave_out, make_recipe, recipe_tables


@dataclass(frozen=True)
class Setup:
    """What all rows of a comparison share.

    Attributes:
        data: The images.
        labels: Where their classes stand, as `likewise evaluate` takes it.
        num_clusters: K.
        test: Other images to score (protocol `split`); None scores those that were trained on (protocol `all`).
        minutes: Budget of training, or None where `epochs` or `steps` give it.
        epochs: The same in passes over the images.
        steps: The same in optimiser updates.
        recipe: What all trainings start from, a name or a TOML file: see `base_tables`; None for the defaults.
        given: Values of the recipe by dotted name.
        settings: The same as text, `NAME=VALUE` for all trainings or `METHOD:NAME=VALUE` for those of one method; what
            a row takes by itself comes after the former, and what makes it that row after both.
    """

    data: str
    labels: str
    num_clusters: int
    test: str | None = None
    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None
    recipe: str | None = None
    given: dict[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    def budget(self, share: float) -> dict[str, Any]:
        """How long a training is that has a share of the budget, in 0..1, by dotted name; with 0, as by default."""
        lengths: dict[str, Any] = {}
        if not share:
            return lengths
        for name in LENGTHS:
            if (whole := getattr(self, name)) is not None:
                lengths[f"training.{name}"] = max(round(share * whole), 1) if name == "steps" else share * whole
        return lengths

    def settings_of(self, owner: str) -> list[str]:
        """The settings that are a method's alone, or with an empty owner those of all, as `NAME=VALUE`."""
        owned = (owner_and_setting(setting) for setting in self.settings)
        return [setting for whose, setting in owned if whose == owner]


def base_tables(setup: Setup, stage: bool = False) -> dict[str, Any]:
    """What the recipe of a comparison says of a training, as nested tables.

    Args:
        setup: Names the recipe.
        stage: Whether it is a further stage, which has views and positives of its own.

    Raises:
        InputError: If there is no such recipe, or it is of a training that goes on from another one.
    """
    tables = recipe_tables(setup.recipe)
    recipe = Recipe.parse(tables)
    if recipe.stage.name or recipe.model.start:
        raise InputError(
            f"--recipe {setup.recipe} goes on from a finished run, and rows start from none: give the recipe of a "
            "first training, such as cdc-cifar10; self-labelling is a row, such as --methods cdc+self-label."
        )
    if stage:
        leave_out(tables, OF_METHOD)
        tables["views"] = {name: value for name, value in tables.get("views", {}).items() if name == "size"}
    return tables


def owner_and_setting(setting: str) -> tuple[str, str]:
    """Of which method a setting is, empty for all, and the setting itself.

    Example:
        >>> owner_and_setting("cdc:method.settings.frame=moco-v2"), owner_and_setting("data.source=cifar10:train")
        (('cdc', 'method.settings.frame=moco-v2'), ('', 'data.source=cifar10:train'))
    """
    owner, found, _ = setting.partition("=")[0].partition(":")
    return (owner, setting.removeprefix(f"{owner}:")) if found else ("", setting)


def decided(setup: Setup, method: str) -> Recipe:
    """What the images and the settings that all share make of a method's recipe, its length aside.

    Raises:
        InputError: If images cannot be found, or a setting is not allowed.
    """
    given = setup.given | {"method.num_clusters": setup.num_clusters, "method.name": method}
    settings = [*setup.settings_of(""), *setup.settings_of(method)]
    recipe, source = make_recipe(base_tables(setup), given, settings), open_source(setup.data)
    method_config(recipe)
    check_counts(recipe, len(source))
    return with_model(recipe, source)


def pinned(setup: Setup, method: str) -> Setup:
    """The setup with all settings of a method named, so that rows differ in those alone that they name.

    Otherwise a setting that is chosen by another one, such as epsilon by t2, would change along with it.
    """
    settings = decided(setup, method).method.settings
    return replace(setup, given=setup.given | {f"method.settings.{name}": value for name, value in settings.items()})
