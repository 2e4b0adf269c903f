"""One method with one seed, in a process of its own: its peak memory is its own, and so is a crash."""

import json
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likewise.analysis import linear_accuracy
from likewise.assembly import image_store, method_config, stage_config
from likewise.benchmark.entries import SUPERVISED, Entry, Stage
from likewise.benchmark.setup import Setup, base_tables
from likewise.benchmark.snapshots import Snapshots
from likewise.config import Recipe
from likewise.data import ImageSource, ImageStore, open_source
from likewise.defaults import check_counts, first_weights, with_budget, with_model
from likewise.errors import InputError, RunError
from likewise.evaluation import cluster_scores, kmeans, spectral
from likewise.labelling import classes_by_name, known_classes
from likewise.methods.self_label import TooFewSure
from likewise.progress import format_seconds
from likewise.recipe_book import OF_LENGTH, leave_out, make_recipe
from likewise.runs import RunDirectory
from likewise.runs.files import write_json
from likewise.scoring import Pixels, evaluate
from likewise.training.callbacks import Diverged
from likewise.training.fit import Interrupted
from likewise.training.machine import choose_machine, machine_facts, peak_memory_mb
from likewise.wording import plural
from likewise.workflow import cluster

STOPPED = 130  # exit status of a job that the user stopped
SCORES = ("acc", "nmi", "ari", "ami")
OFF_BUDGET = 0.1  # of a budget in minutes: more than that beside it is said
PIXEL_CLUSTERS = {"kmeans-pixels": kmeans, "spectral-pixels": spectral}


@dataclass(frozen=True)
class Job:
    """One entry with one seed, and the folder that its runs go to; the result lies beside it as a JSON file."""

    setup: Setup
    entry: Entry
    seed: int
    folder: Path

    @property
    def result_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.json")

    def to_json(self) -> str:
        """The job as text that `from_json` reads."""
        return json.dumps(asdict(self) | {"folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """The job that `to_json` wrote."""
        values = json.loads(text)
        setup, entry = values["setup"], values["entry"]
        stages = {
            name: tuple(
                Stage(**stage | {part: tuple(stage[part]) for part in ("settings", "own")}) for stage in entry[name]
            )
            for name in ("stages", "frozen")
        }
        return cls(
            Setup(**setup | {"settings": tuple(setup["settings"])}),
            Entry(**entry | stages),
            values["seed"],
            Path(values["folder"]),
        )


def stage_recipe(job: Job, stage: Stage, start: Path | None) -> Recipe:
    """The recipe of one training of a job.

    Args:
        job: Of which it is a part.
        stage: The training.
        start: The run that it starts from, if any.
    """
    setup = job.setup
    given = setup.given | {"method.num_clusters": setup.num_clusters, "training.seed": job.seed}
    given |= setup.budget(stage.share)
    if start is not None:
        given["model.start"] = str(start)
    base = base_tables(setup, stage.is_further)
    if not stage.share:  # the recipe's own length is for what has a share of it
        leave_out(base, OF_LENGTH)
    settings = [*setup.settings_of(""), *stage.own, *setup.settings_of(stage.method), *stage.settings]
    recipe = make_recipe(base, given, settings)
    if stage.freezes:  # the network is that of the stage before: of the size, stem and channels that it has there
        recipe.model.weights = first_weights(recipe.model.model_copy(update={"frozen": None}))
    recipe.training.learning_rate *= stage.rate
    return recipe


def check(job: Job) -> None:
    """Make sure of what can be known before anything is trained.

    Raises:
        InputError: If images or labels cannot be found, or a setting of a stage is not allowed.
    """
    setup = job.setup
    source = open_source(setup.data)
    scored = source if setup.test is None else open_source(setup.test)
    known_classes(list(scored.names), classes_by_name(list(scored.names), scored, setup.labels))
    if job.entry.name == SUPERVISED:
        _training_labels(setup)
    resolved(job, source)


def resolved(job: Job, source: ImageSource) -> list[Recipe]:
    """The recipes of all trainings of a job, with what they leave open decided.

    Raises:
        InputError: If a setting is not allowed.
    """
    recipes = []
    for number, stage in enumerate(job.entry.stages):
        recipe = stage_recipe(job, stage, job.folder if number else None)
        method_config(recipe)
        stage_config(recipe)
        check_counts(recipe, len(source))
        recipes.append(with_budget(with_model(recipe, source), len(source)))
    return recipes


def perform(job: Job) -> dict[str, Any]:
    """Train and score one entry with one seed; goes on where an earlier try was stopped.

    Returns:
        Its scores and what it took.
    """
    return _trained(job) if job.entry.stages else _on_pixels(job)


def _training_labels(setup: Setup) -> np.ndarray:
    """The class of every image to train on, int64 from 0 and -1 where there is none: for the upper bound.

    Raises:
        InputError: If there are none, or more classes than clusters.
    """
    source = open_source(setup.data)
    names = list(source.names)
    known, classes = known_classes(names, classes_by_name(names, source, setup.labels))
    found, codes = np.unique(classes, return_inverse=True)
    if len(found) > setup.num_clusters:
        raise InputError(
            f"{SUPERVISED} needs a cluster for each class: the images have {len(found):,}, and -k is "
            f"{setup.num_clusters:,}."
        )
    labels = np.full(len(names), -1, dtype=np.int64)
    labels[known] = codes
    return labels


def run_folders(job: Job) -> list[Path]:
    """The run directory of each stage."""
    if len(job.entry.stages) == 1:
        return [job.folder]
    return [job.folder / f"stage-{number}" for number in range(1, len(job.entry.stages) + 1)]


def _trained(job: Job) -> dict[str, Any]:
    labels = _training_labels(job.setup) if job.entry.name == SUPERVISED else None
    runs: list[RunDirectory] = []
    refused: list[str] = []
    for folder, stage in zip(run_folders(job), job.entry.stages, strict=True):
        run = RunDirectory(folder)
        if not run.is_complete:
            start = runs[-1].path if runs else None
            recipe = Recipe.read(run.recipe_file) if run.is_started else stage_recipe(job, stage, start)
            observe = Snapshots(folder, job.setup.num_clusters).add
            try:
                cluster(recipe, job.setup.data, run, resume=run.is_started, observe=observe, labels=labels)
            except TooFewSure as refusal:
                # it is what such a run comes to: to leave it out would make a mean of those that went well
                refused = [f"the run before self-labelling is scored, which was refused: {refusal}"]
                break
        runs.append(run)
    evaluation = evaluate(runs[-1], job.setup.labels, job.setup.test)
    linear = linear_accuracy(runs[-1], job.setup.labels, job.setup.test) if job.entry.probed else None
    last, parts = runs[-1].metrics(), [run.metrics()["training"] for run in runs]
    seconds = sum(part["seconds"] for part in parts)
    trained = [run.metrics()["training"]["steps"] * Recipe.read(run.recipe_file).training.batch_size for run in runs]
    # passes over features that are there already are no epochs
    seen = sum(count for count, stage in zip(trained, job.entry.stages, strict=False) if stage.share)
    # without what follows the steps, such as new heads
    busy = sum(count / part["images_per_second"] for count, part in zip(trained, parts, strict=True))
    return {
        **{name: evaluation["rows"][0][name] for name in SCORES},
        "features_acc": evaluation["rows"][1]["acc"],
        "baselines": evaluation["rows"][1:],
        "linear": linear,
        "silhouette": last["geometry"]["backbone"]["silhouette"],
        "davies_bouldin": last["geometry"]["backbone"]["davies_bouldin"],
        "geometry": {space: _without_lists(geometry) for space, geometry in last["geometry"].items()},
        "protocol": evaluation["protocol"],
        "num_images": evaluation["num_images"],
        "num_classes": evaluation["num_classes"],
        "track": last["track"],
        "refused": bool(refused),
        "helped": "; ".join(dict.fromkeys(filter(None, map(_helped, runs)))),
        "seconds": seconds,
        "images_per_second": sum(trained) / busy if busy else None,
        "epochs": seen / Recipe.read(runs[-1].recipe_file).data.num_images,
        "peak_memory_mb": max(part["peak_memory_mb"] for part in parts),
        "warnings": [
            *refused,
            *_off_budget(job, parts, trained),
            *(said for part in parts for said in part["warnings"]),
        ],
        "machine": last["machine"],
        "curve": _labelled_curve(job, [part["seconds"] for part in parts]),
    }


def _off_budget(job: Job, parts: list[dict[str, Any]], trained: list[int]) -> list[str]:
    """What to say where the steps that a budget in minutes came to took longer, or less long, than that."""
    if job.setup.minutes is None:
        return []
    within = [stage.share > 0 for stage in job.entry.stages]
    took = sum(n / part["images_per_second"] for n, part, own in zip(trained, parts, within, strict=False) if own)
    planned = 60 * job.setup.minutes * sum(stage.share for stage, _ in zip(job.entry.stages, parts, strict=False))
    if abs(took - planned) <= OFF_BUDGET * planned:
        return []
    return [
        f"its steps took {format_seconds(took)} and were planned for {format_seconds(planned)}: the first ones, by "
        "which they were planned, were not as fast or slow as the others"
    ]


def _helped(run: RunDirectory) -> str:
    """What a row has beside its method, in words."""
    recipe = Recipe.read(run.recipe_file)
    training, when = recipe.training, "" if recipe.model.frozen else ", new ones on its features at the end"
    near = plural(training.neighbors or 0, "neighbour")
    parts = [f"with {near} of each image as positives" if training.neighbors else ""]
    parts += [f"the best of {training.heads} heads by its loss{when}" if (training.heads or 1) > 1 else ""]
    return ", ".join(filter(None, parts))


def _without_lists(geometry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in geometry.items() if not isinstance(value, list)}


def _labelled_curve(job: Job, seconds: list[float]) -> list[dict[str, float]]:
    try:
        return _curve(job, seconds)
    except InputError:  # where other images are scored, those trained on need no labels
        return []


def _curve(job: Job, seconds: list[float]) -> list[dict[str, float]]:
    """Accuracy on the sample of training images that was looked at, over all stages; labels enter only here."""
    source = open_source(job.setup.data)
    classes_of = classes_by_name(list(source.names), source, job.setup.labels)
    points: list[dict[str, float]] = []
    for number, folder in enumerate(run_folders(job)):
        for moment in Snapshots(folder, job.setup.num_clusters).read():
            known, classes = known_classes(moment.names, classes_of)
            scores = cluster_scores(moment.clusters[known], classes)
            points.append({"seconds": sum(seconds[:number]) + moment.seconds, "acc": scores["acc"]})
    return points


def _on_pixels(job: Job) -> dict[str, Any]:
    setup = job.setup
    source = open_source(setup.data)
    asked = make_recipe(base_tables(setup), setup.given, setup.settings_of(""))
    asked.method.settings = {}  # what all trainings are told says nothing of pixels
    recipe = with_model(asked, source)
    own = _pixels(image_store(source, recipe.data))
    test = None
    if setup.test is not None:
        recipe.data.channels = 1 if own.store.channels == 1 else 3
        test = _pixels(image_store(open_source(setup.test), recipe.data))
    side, scored = own.fitting_side(), test or own
    classes_of = classes_by_name(list(scored.store.source.names), scored.store.source, setup.labels)
    known, classes = known_classes(scored.store.names, classes_of)
    start = time.monotonic()
    found = PIXEL_CLUSTERS[job.entry.name](
        own.at(side), setup.num_clusters, job.seed, None if test is None else test.at(side)
    )
    scores = cluster_scores(found[known], classes)
    return {
        **{name: scores[name] for name in SCORES},
        "protocol": "all" if test is None else "split",
        "num_images": len(known),
        "num_classes": len(np.unique(classes)),
        "track": "none",
        "seconds": time.monotonic() - start,
        "side": side,
        "peak_memory_mb": round(peak_memory_mb()),
        "warnings": [],
        "machine": machine_facts(choose_machine(compile=False)),
        "curve": [],
    }


def _pixels(store: ImageStore) -> Pixels:
    return Pixels(store, np.arange(len(store)))


def main(text: str) -> int:
    """Perform a job and write its result; nothing is written for one that was stopped.

    Returns:
        The exit status.
    """
    job = Job.from_json(text)
    try:
        result = {"status": "done"} | perform(job)
    except (Interrupted, KeyboardInterrupt):
        return STOPPED
    except Diverged as error:
        result = {"status": "diverged", "error": str(error)}
    except (InputError, RunError, OSError) as error:
        result = {"status": "failed", "error": str(error)}
    except Exception as error:  # one method's mistake must not cost the others their table
        traceback.print_exc()
        result = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    write_json(job.result_file, {"entry": job.entry.name, "seed": job.seed} | result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
