"""What each part of a run's output knows: probes, similarities, temperatures, and a map of each part by itself.

The probes need labels, and use them for that alone; the rest does without.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from likewise.assembly import method_config
from likewise.config import Recipe
from likewise.data import ImageSource, ImageStore, open_source
from likewise.errors import InputError
from likewise.evaluation import class_leakage, knn_accuracy, similarity_table, temperature_curve
from likewise.inference import embed_views, layout, linear_probe
from likewise.labelling import classes_by_name, known_classes
from likewise.methods import METHODS
from likewise.progress import say
from likewise.runs import PartMaps, RunDirectory
from likewise.runs.directory import FEATURES
from likewise.training.machine import choose_machine
from likewise.views import Views
from likewise.workflow import assign, open_network, reopen

SAMPLE = 2000  # images whose views are compared, and that are put on the maps
TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Subjects:
    """Images and what a run's network says of them, row by row.

    Attributes:
        names: What they are called, [N].
        parts: Features of the plain images by part, float32 [N, dimensions].
        images: The store they are in and their rows there, int64 [N]; None where they are not to be had.
    """

    names: list[str]
    parts: dict[str, np.ndarray]
    images: tuple[ImageStore, np.ndarray] | None


class Probed(NamedTuple):
    """The images that probes are made with: rows of the subjects, and classes as numbers that both sides share."""

    rows: np.ndarray
    classes: np.ndarray


class Material(NamedTuple):
    """What an analysis is made of.

    Attributes:
        recipe: Of the run.
        data: Where the tested images come from.
        parts: Features of the run's own images by part.
        subjects: The tested images.
        trained: Rows and classes of those that probes learn from; None where they learn from the tested ones.
        tested: Rows and classes of those that probes are tested on; None without labels.
    """

    recipe: Recipe
    data: str
    parts: dict[str, np.ndarray]
    subjects: Subjects
    trained: tuple[np.ndarray, np.ndarray] | None
    tested: tuple[np.ndarray, np.ndarray] | None


Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Features and classes to learn from, and features and classes to be tested on."""


def analyze(run: RunDirectory, labels: str | None = None, data: object | None = None) -> dict[str, Any]:
    """Measure what backbone, categorical and instance part know, and add it to the run's metrics and maps.

    Args:
        run: A finished run.
        labels: As for `likewise.scoring.evaluate`; with `data`, of both sets. None leaves out the probes.
        data: Other images: probes learn from the run's own and are tested on these (protocol `split`). None tests on
            the run's own (protocol `all`): every image is left out of its own vote, and the linear probe learns from
            one half, drawn by the seed of the run, and is tested on the other.

    Returns:
        The analysis, as it stands in `metrics.json`.

    Raises:
        InputError: If labels or images cannot be found.
    """
    run.require_changeable()
    material = _material(run, labels, data)
    recipe, parts, subjects, tested = material.recipe, material.parts, material.subjects, material.tested
    rows = np.arange(len(subjects.names)) if tested is None else tested[0]
    analysis: dict[str, Any] = {
        "protocol": "all" if data is None else "split",
        "data": material.data,
        "num_images": len(rows),
    }
    if tested is not None:
        analysis |= _probes(material)
    if subjects.images is None:
        say("the images of the run are not where they were: the similarity of their views is left out")
    else:
        analysis["similarity"] = _similarity(run, subjects.images, rows, None if tested is None else tested[1])
    analysis["temperature"] = _temperature(recipe, subjects.parts["categorical"][rows], tested and tested[1])
    _draw_maps(run, parts, recipe.training.seed)
    run.write_metrics(run.metrics() | {"analysis": analysis})
    return analysis


def linear_accuracy(run: RunDirectory, labels: str, data: object | None = None) -> float:
    """What a linear classifier reads from the features of a run's backbone; arguments are those of `analyze`.

    Raises:
        InputError: If labels or images cannot be found.
    """
    material = _material(run, labels, data)
    say("probing the backbone features")
    return linear_probe(*_sides(material, "backbone"), material.recipe.training.seed, device=choose_machine().device)


def _material(run: RunDirectory, labels: str | None, data: object | None) -> "Material":
    """Features, images and classes, of the run's own images and of those that are tested."""
    run.require_complete()
    recipe, table = Recipe.read(run.recipe_file), run.assignments()
    method_config(recipe)  # a stranger's recipe may name a method that there is not
    parts = {part: np.asarray(run.features(part, len(table))) for part in FEATURES}
    source = None if data is None else open_source(data)
    # labels first: what is wrong with them should be said before any image is read
    own_classes, classes = _classes(recipe, table.names, source, labels) if labels else ({}, {})
    if labels and source is not None:
        _check_shared(_found(own_classes, table.names), _found(classes, source.names))
    if source is None:
        subjects = Subjects(table.names, parts, reopen(recipe, table.names))
    else:
        subjects = _assigned(run, source)
    tested = known_classes(subjects.names, classes) if labels else None
    trained = known_classes(table.names, own_classes) if labels and source is not None else None
    spec = recipe.data.source if source is None else source.spec
    return Material(recipe, spec, parts, subjects, trained, tested)


def _assigned(run: RunDirectory, source: ImageSource) -> Subjects:
    table, store, embedded = assign(run, source)
    values = (embedded.features, embedded.categorical, embedded.instance)
    return Subjects(table.names, dict(zip(FEATURES, values, strict=True)), (store, embedded.rows))


def _classes(
    recipe: Recipe, own_names: list[str], source: ImageSource | None, labels: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The classes of the run's own images and of those that are tested, by name."""
    # the run's own images may have moved: folders and tables do without them
    own_source = open_source(recipe.data.source) if labels == "source" and recipe.data.source else None
    if own_source is not None:
        own_names = list(own_source.names)
    if source is None:
        own = classes_by_name(own_names, own_source, labels)
        return own, own
    names = list(source.names)
    if labels in ("folders", "source"):
        return classes_by_name(own_names, own_source, labels), classes_by_name(names, source, labels)
    if Path(labels).is_file() and not set(own_names).isdisjoint(names):
        raise InputError(
            "some of these images are called as some of the run's own, and a table cannot tell them apart."
        )
    both = classes_by_name(own_names + names, None, labels)
    return both, both


def _found(classes_of: dict[str, str], names: Sequence[str]) -> set[str]:
    return {classes_of[name] for name in names if classes_of.get(name)}


def _check_shared(own: set[str], others: set[str]) -> None:
    """Make sure that both sides speak of the same classes: a probe can only guess those that it learned."""
    if own and others and own.isdisjoint(others):
        raise InputError(
            f"the run's own images and these have no class in common ({min(own)} and {min(others)}, for example); "
            "give both the same names, such as in one CSV file."
        )
    if unknown := sorted(others - own):
        say(f"{len(unknown):,} classes of these images, such as {unknown[0]}, are none of the run's own: always wrong")


def _probed(material: Material) -> tuple[Probed | None, Probed]:
    """The images that probes learn from (None: those that are tested) and are tested on."""
    tested, trained = material.tested, material.trained
    assert tested is not None
    names = np.unique(np.concatenate([tested[1], *([] if trained is None else [trained[1]])]))
    train = None if trained is None else Probed(trained[0], np.searchsorted(names, trained[1]))
    return train, Probed(tested[0], np.searchsorted(names, tested[1]))


def _sides(material: Material, part: str) -> Sides:
    """What a linear probe of a part learns from and is tested on; one half of the images each where all are tested."""
    train, test = _probed(material)
    features = material.subjects.parts[part][test.rows]
    if train is not None:
        return material.parts[part][train.rows], train.classes, features, test.classes
    order = np.random.default_rng(material.recipe.training.seed).permutation(len(features))
    one, other = np.array_split(order, 2)
    return features[one], test.classes[one], features[other], test.classes[other]


def _probes(material: Material) -> dict[str, Any]:
    """Accuracy of k-NN and of a linear probe on each part, and what an instance part keeps of the class."""
    train, test = _probed(material)
    device, rows = choose_machine().device, []
    whole = METHODS[material.recipe.method.name][0].has_instance_part
    for part in FEATURES if whole else FEATURES[:2]:
        say(f"probing the {part} features")
        sides = _sides(material, part)
        if train is None:
            knn = knn_accuracy(material.subjects.parts[part][test.rows], test.classes)
        else:
            knn = knn_accuracy(*sides)
        linear = linear_probe(*sides, material.recipe.training.seed, device=device)
        rows.append({"part": part, "knn": knn, "linear": linear})
    chance = float(np.bincount(test.classes).max() / len(test.classes))
    probes = {"num_classes": len(np.unique(test.classes)), "chance": chance, "probes": rows}
    if not whole:
        return probes
    _, categorical, instance = rows
    leakage = {probe: class_leakage(instance[probe], categorical[probe], chance) for probe in ("knn", "linear")}
    return probes | {"class_leakage": leakage}


def _similarity(
    run: RunDirectory, images: tuple[ImageStore, np.ndarray], rows: np.ndarray, classes: np.ndarray | None
) -> dict[str, Any]:
    """Similarities of two augmented views of a sample, for each part."""
    recipe, network, machine = open_network(run)
    (store, places), seed = images, recipe.training.seed
    chosen = _sample(len(rows), seed)
    views = Views(recipe.views, store.size, machine.dtype)
    one, other = embed_views(network, store, places[rows[chosen]], views, seed, machine)
    labels = None if classes is None else classes[chosen]
    return {
        "num_images": len(chosen),
        "categorical": similarity_table(one.categorical, other.categorical, labels),
        "instance": similarity_table(one.instance, other.instance, labels),
    }


def _temperature(recipe: Recipe, logits: np.ndarray, classes: np.ndarray | None) -> dict[str, Any] | None:
    """Confidence over t2, for the methods that have one."""
    own = getattr(method_config(recipe), "assignment_temperature", None)
    if own is None:
        return None
    return {"own": own, "rows": temperature_curve(logits, sorted({*TEMPERATURES, own}), classes)}


def _draw_maps(run: RunDirectory, parts: dict[str, np.ndarray], seed: int) -> None:
    say("laying out a map of each part")
    rows = _sample(len(parts["categorical"]), seed)
    places = (layout([parts[part][rows]], seed) for part in ("categorical", "instance"))
    PartMaps(rows, *places).write(run.maps_file)


def _sample(count: int, seed: int) -> np.ndarray:
    """At most `SAMPLE` rows out of `count`, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])
