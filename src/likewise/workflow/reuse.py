"""Use a finished run: open its network, sort new images, find its own images again."""

import numpy as np

from likewise.assembly import Network, image_store, load_network
from likewise.config import Recipe
from likewise.data import ImageSource, ImageStore, open_source
from likewise.errors import InputError
from likewise.inference import Embedded, decide_close_calls, embed
from likewise.runs import Assignments, RunDirectory
from likewise.training.machine import Machine, choose_machine


def open_network(run: RunDirectory, precision: str = "auto") -> tuple[Recipe, Network, Machine]:
    """Recipe and network of a finished run, and how to compute with them on this machine.

    Args:
        run: A finished run.
        precision: `"bf16"`, `"fp32"`, or `"auto"` for what the run was trained in, where this machine is fast at it.
    """
    run.require_complete()
    recipe = Recipe.read(run.recipe_file)
    if precision == "auto" and recipe.training.precision == "fp32":
        precision = "fp32"
    machine = choose_machine(precision, compile=False)
    return recipe, load_network(recipe, run.model_file), machine


def assign(
    run: RunDirectory, data: object, strict: bool = False, precision: str = "auto"
) -> tuple[Assignments, ImageStore, Embedded]:
    """The clusters of new images.

    Args:
        run: A finished run.
        data: Whatever `likewise.data.open_source` takes; one image is enough.
        strict: Stop at the first image that cannot be read.
        precision: See `open_network`. Where `"auto"` is bf16, close calls are decided in float32; `"bf16"` leaves them
            (docs/speed.md).

    Returns:
        Their assignments, the images, and what the network says of them.
    """
    recipe, network, machine = open_network(run, precision)
    store = image_store(open_source(data), recipe.data, strict=strict)
    embedded = embed(network, store, machine)
    if precision == "auto":
        decide_close_calls(network, store, machine, embedded)
    names = [store.names[row] for row in embedded.rows]
    return Assignments.from_probabilities(names, embedded.probabilities), store, embedded


def own_source(run: RunDirectory, data: object, otherwise: str = "") -> ImageSource:
    """The images of a run, from where they were.

    Args:
        run: Which may not have finished.
        data: What its recipe says of them, or what they are in memory.
        otherwise: What else could be done without them, as a part of a sentence.

    Raises:
        InputError: If they are not there.
    """
    try:
        return open_source(data)
    except InputError as error:
        raise InputError(
            f"the images of this run cannot be found: {error} Put them back, or write their new place into "
            f"{run.recipe_file}, as data.source{otherwise}."
        ) from error


def reopen(recipe: Recipe, names: list[str]) -> tuple[ImageStore, np.ndarray] | None:
    """The images of a run itself, from where they were, if all of them are still there.

    Args:
        recipe: Of the run.
        names: What its images are called, [N].

    Returns:
        The images, and which row each name has, int64 [N]; None where an image is missing.
    """
    if not recipe.data.source:
        return None
    try:
        store = image_store(open_source(recipe.data.source), recipe.data)
    except InputError:
        return None
    places = {name: row for row, name in enumerate(store.names)}
    if not all(name in places for name in names):
        return None
    return store, np.array([places[name] for name in names])
