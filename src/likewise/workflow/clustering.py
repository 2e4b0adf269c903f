"""Group images: train, assign, write the run directory."""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from likewise.assembly import (
    Network,
    build_network,
    build_trained,
    image_store,
    initial_weights,
    method_config,
    stage_config,
    start_from,
    title,
)
from likewise.config import Recipe
from likewise.data import ImageSource, ImageStore, open_source
from likewise.defaults import check_counts, with_budget, with_model
from likewise.errors import InputError
from likewise.inference import Embedded, decide_close_calls, embed_features
from likewise.methods import METHODS, Method
from likewise.models import check_backbone
from likewise.progress import format_seconds, say
from likewise.ranks import connect, rank, wait, world_size
from likewise.runs import RunDirectory
from likewise.runs.files import write_text
from likewise.runs.lock import held
from likewise.tracks import notice
from likewise.training.batches import Neighbors
from likewise.training.fit import Outcome, train
from likewise.training.health import collapse, too_short
from likewise.training.machine import Machine, choose_machine
from likewise.training.plan import Plan
from likewise.wording import plural
from likewise.workflow.heads import renew_head
from likewise.workflow.looks import Observe, Watch, as_tensor, beforehand, later, watching
from likewise.workflow.material import Material, Task, material_of
from likewise.workflow.results import write_results, write_skipped
from likewise.workflow.reuse import own_source


@dataclass(frozen=True)
class Clustering:
    """A finished run: its recipe, its network, and what the network says of the images."""

    recipe: Recipe
    network: Network
    machine: Machine
    store: ImageStore
    embedded: Embedded
    run: RunDirectory


def cluster(
    recipe: Recipe,
    data: object,
    run: RunDirectory,
    resume: bool = False,
    observe: Observe | None = None,
    labels: np.ndarray | None = None,
) -> Clustering:
    """Group images: train, assign, write the run directory (without its report).

    Args:
        recipe: What was asked for; what it leaves open is decided from the images. On a resume, the one of the run.
        data: Whatever `likewise.data.open_source` takes.
        run: Where to write.
        resume: Go on from the last checkpoint of the run.
        observe: Called about ten times while it trains, with at most 2,000 of the images; the result is the same to
            the bit, and the time it takes does not count as training.
        labels: Of all images that `data` names, int64 from 0, -1 where there is none; for a supervised upper bound,
            and for nothing else.

    Raises:
        InputError: If something was asked for that cannot be done; before any training.
        RunError: If the training diverged or was stopped.
    """
    connect()
    if not resume:
        run.require_new()
    run.require_writable()
    wait()  # else one process finds what a faster one has begun to write
    method_config(recipe)
    stage_config(recipe)
    supervised = METHODS[recipe.method.name][0].supervised
    if supervised and labels is None:
        raise InputError(
            f"{recipe.method.name} learns from labels, which only a comparison has: likewise benchmark clustering "
            f"--methods {recipe.method.name}. To group images without labels, choose cdc."
        )
    source = _as_before(data, recipe, run) if resume else open_source(data)
    if labels is not None and not (supervised and len(labels) == len(source)):
        raise InputError("labels are for a method that learns from them, and one for each image.")
    # what is sure to fail should do so before thousands of images are decoded
    check_counts(recipe, len(source))
    asked, recipe = recipe.method.settings, with_model(recipe, source)
    _say_what_follows(asked, recipe)
    start = _start_run(recipe, run, resume)
    check_backbone(recipe.model.backbone, initial_weights(recipe))
    with held(run.path) if rank() == 0 else nullcontext():
        return _grouped(_loaded(recipe, source, run, resume, labels), start, observe)


def _grouped(task: Task, start: RunDirectory | None, observe: Observe | None) -> Clustering:
    """What `cluster` does once it is clear that it can be done."""
    network = _built(task, start)
    material = material_of(task, network)
    trained = build_trained(network, task.recipe)
    neighbors = beforehand(trained, material)
    # only now: what cannot be trained leaves no run behind
    if rank() == 0:
        write_text(task.run.recipe_file, task.recipe.to_toml())
        write_skipped(task.run, task.store)
    watch = None if observe is None else watching(observe, trained, material)
    outcome = _train(trained, material, neighbors, watch)
    network.method = trained.result()
    embedded, outcome = _finished(trained, material, outcome, watch)
    decide_close_calls(network, task.store, task.machine, embedded)
    outcome = _judged(outcome, embedded, trained, task.recipe)
    if rank() == 0:
        network.save(task.run.model_file)
        write_results(task, embedded, outcome, network.track, network.method.figures())
    wait()
    return Clustering(task.recipe, network, task.machine, task.store, embedded, task.run)


def _loaded(recipe: Recipe, source: ImageSource, run: RunDirectory, resume: bool, labels: np.ndarray | None) -> Task:
    """The images in memory, and what the recipe leaves open decided from them and from this machine."""
    needed = 0 if recipe.model.weights == "none" else 3  # weights are of networks for colour
    store = image_store(source, recipe.data, channels=needed, strict=recipe.data.strict)
    recipe = with_budget(recipe, len(store))
    training, data = recipe.training, recipe.data
    if training.batch_size % world_size():
        raise InputError(
            f"a batch of {training.batch_size} cannot be shared equally by {world_size()} processes; "
            "choose a training.batch_size that can."
        )
    data.channels = 1 if store.channels == 1 else 3
    data.source, data.digest, data.num_images = source.spec, source.digest(), len(store)
    # a head has nothing to gain from being compiled, and a frozen backbone is folded
    machine = choose_machine(training.precision, False if recipe.model.frozen else training.compile)
    training.precision, training.compile = "bf16" if machine.bf16 else "fp32", machine.compile
    say(f"{len(store):,} images at {store.size} px, {_network_words(recipe)}; {machine.describe()}")
    return Task(recipe, store, machine, run, resume, labels)


def _built(task: Task, start: RunDirectory | None) -> Network:
    """The network with the weights that it starts from, and a word on what labels had to do with them."""
    network = build_network(task.recipe)
    if start is not None:
        start_from(network, start.model_file, bool(task.recipe.stage.name), _heads_go_on(task.recipe, start))
    if task.labels is not None:
        network.track = "supervised"
    if said := notice(network.track).sentence:
        say(f"note: {said}")
    return network


def _train(trained: Method, material: Material, neighbors: Neighbors | None, watch: Watch | None) -> Outcome:
    task, recipe, training = material.task, material.task.recipe, material.task.recipe.training

    def decided(plan: Plan) -> None:
        # from here on the run is reproducible without a clock: a resume, or anybody, trains these steps at these rates
        training.steps, training.hold_steps = plan.total_steps, plan.hold_steps
        if rank() == 0:
            write_text(task.run.recipe_file, recipe.to_toml())

    batches, clusters, prepare = material.batches(neighbors), recipe.method.num_clusters, later(trained, material)
    folder, resume = task.run.path, task.resume
    outcome = train(trained, batches, training, task.machine, folder, clusters, resume, decided, watch, prepare)
    length = f"{plural(outcome.steps, 'step')} ({plural(outcome.epochs, 'epoch')})"
    say(f"trained {length} in {format_seconds(outcome.seconds)}, {outcome.images_per_second:,.0f} images/s")
    return outcome


def _finished(trained: Method, material: Material, outcome: Outcome, watch: Watch | None) -> tuple[Embedded, Outcome]:
    """What the trained method says of all images, after new heads on their features or after it has concluded."""
    method, task = trained.result(), material.task
    embedded = material.embed(method)
    rows, features = embedded.rows, embedded.features
    if material.learns and (task.recipe.training.heads or 1) > 1:
        outcome = _renewed(method, task, features, outcome)
        if watch is not None:
            watch(outcome.steps, outcome.seconds)
    if trained.concludes or outcome.head_replaced:
        del embedded  # before there is another: of many clusters, one fills a disk
        if trained.concludes:
            method.conclude(as_tensor(features))
        embedded = embed_features(method, rows, features, task.machine)
    return embedded, outcome


def _renewed(method: Method, task: Task, features: np.ndarray, outcome: Outcome) -> Outcome:
    """What the training took and showed with new heads, of which one may be the method's own now."""
    start, warnings = time.monotonic(), outcome.warnings
    learned = renew_head(method, task.recipe, features, task.machine)
    if learned:
        warnings = [f"before the head was replaced, {warning}" for warning in warnings]
    seconds = outcome.seconds + time.monotonic() - start
    return replace(outcome, seconds=seconds, warnings=warnings, head_replaced=learned)


def _judged(outcome: Outcome, embedded: Embedded, trained: Method, recipe: Recipe) -> Outcome:
    """The outcome, with a warning if it was short, or a few clusters have most of the images, not judged before."""
    counts = torch.from_numpy(embedded.categorical.argmax(axis=1)).bincount(minlength=recipe.method.num_clusters)
    warnings = [said] if recipe.model.from_scratch and (said := too_short(outcome.steps)) else []
    if said := collapse(counts, trained.signs):
        warnings.append(f"in the end, {said}.")
    for warning in warnings:
        say(f"warning: {warning}")
    return replace(outcome, warnings=[*outcome.warnings, *warnings])


def _say_what_follows(asked: dict[str, Any], recipe: Recipe) -> None:
    """The settings that go with those that were asked for: one may depend on another, such as epsilon on t2."""
    others = [f"{name}={value}" for name, value in recipe.method.settings.items() if name not in asked]
    if asked and others:
        say(f"with these settings go {', '.join(others)}, unless they are set")
    if idle := sorted(method_config(recipe).without_effect() & asked.keys()):
        say(f"note: as the other settings are, {', '.join(idle)} of {recipe.method.name} change nothing")


def _as_before(data: object, recipe: Recipe, run: RunDirectory) -> ImageSource:
    """The images that an interrupted run goes on with."""
    source = own_source(run, data)
    if recipe.data.digest != source.digest():
        raise InputError(
            f"the images are not those that this run started with, of which {recipe.data.num_images:,} could be read: "
            "some were added, removed, renamed or edited since. Put them back as they were, or start a new run."
        )
    return source


def _start_run(recipe: Recipe, run: RunDirectory, resume: bool) -> RunDirectory | None:
    """The finished run that this one starts from, if there is one."""
    if not recipe.model.start:
        return None
    start = RunDirectory(recipe.model.start)
    if resume and not start.is_complete:
        raise InputError(
            f"this run starts from the run in {start.path}, which is not there (any more). Put it back, or write its "
            f"new place into {run.recipe_file}, as model.start."
        )
    return start.require_complete()


def _heads_go_on(recipe: Recipe, start: RunDirectory) -> bool:
    """Whether a training goes on with the head of the run that it starts from, and not with its backbone alone."""
    before, now = Recipe.read(start.recipe_file).method, recipe.method
    if recipe.stage.name and before.name != now.name:
        raise InputError(
            f"{recipe.stage.name} goes on with the network of {before.name} as it is; leave out --method {now.name}, "
            "or train that from the run first."
        )
    # in the MoCo v3 frame, what says the clusters stands behind the head, and is no part of it
    reframed = (before.settings.get("frame") == "moco-v3") != (now.settings.get("frame") == "moco-v3")
    if before.name != now.name or (reframed and not recipe.stage.name):
        say(f"the backbone of that run, which {before.name} has trained, goes on; the head of {now.name} starts anew")
        return False
    if recipe.model.frozen and (recipe.training.heads or 1) > 1:
        # of several heads, one that is trained already would have the lowest loss for that alone
        say(f"{recipe.training.heads} new heads on the features of that run; training.heads=1 goes on with its own")
        return False
    return True


def _network_words(recipe: Recipe) -> str:
    how = "frozen" if recipe.model.frozen else "from scratch" if recipe.model.weights == "none" else "fine-tuned"
    if recipe.model.start:
        how += f", from the run in {recipe.model.start}"
    return f"{title(recipe)} with {recipe.method.num_clusters:,} clusters on {recipe.model.backbone} ({how})"
