"""Group images: train, assign, write the run directory."""

import time
from collections.abc import Callable
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
from likewise.inference import Embedded, decide_close_calls, embed, embed_features, nearest_images, settle_norms
from likewise.inference.cache import CachedFeatures, cached_features
from likewise.inference.embed import random_images
from likewise.methods import METHODS, Method
from likewise.models import Backbone, check_backbone
from likewise.models.folding import folded
from likewise.progress import format_seconds, say
from likewise.ranks import connect, rank, wait, world_size
from likewise.runs import RunDirectory
from likewise.runs.files import write_text
from likewise.runs.lock import held
from likewise.tracks import notice
from likewise.training.batches import Batches, FeatureBatches, FreshFeatures, ImageBatches, LabelledBatches, Neighbors
from likewise.training.fit import Outcome, train
from likewise.training.health import collapse, too_short
from likewise.training.machine import Machine, choose_machine
from likewise.training.plan import Plan
from likewise.views import Views
from likewise.wording import plural
from likewise.workflow.heads import renew_head
from likewise.workflow.midway import Observe, as_tensor, later, watching
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
        return _grouped(recipe, source, run, start, resume, observe, labels)


def _grouped(
    recipe: Recipe,
    source: ImageSource,
    run: RunDirectory,
    start: RunDirectory | None,
    resume: bool,
    observe: Observe | None,
    labels: np.ndarray | None,
) -> Clustering:
    """What `cluster` does once it is clear that it can be done."""
    store = _load(recipe, source)
    recipe = _resolved(recipe, source, store)
    # a head has nothing to gain, and a frozen backbone is folded
    compiled = False if recipe.model.frozen else recipe.training.compile
    machine = choose_machine(recipe.training.precision, compiled)
    recipe.training.precision, recipe.training.compile = "bf16" if machine.bf16 else "fp32", machine.compile
    say(f"{len(store):,} images at {store.size} px, {_network_words(recipe)}; {machine.describe()}")
    network = build_network(recipe)
    several = (recipe.training.heads or 1) > 1
    if start is not None:
        start_from(network, start.model_file, bool(recipe.stage.name), _heads_go_on(recipe, start, several))
    if labels is not None:
        network.track = "supervised"
    if said := notice(network.track).sentence:
        say(f"note: {said}")
    cached = None if network.frozen is None else cached_features(network.frozen, store, recipe, machine)
    trained = build_trained(network, recipe)
    begun = resume and run.checkpoint_file.is_file()
    neighbors = _prepare(trained, network, cached, store, recipe, machine, begun)
    # only now: what cannot be trained leaves no run behind
    if rank() == 0:
        write_text(run.recipe_file, recipe.to_toml())
        write_skipped(run, store)

    batches = _batches(network.frozen, cached, store, recipe, machine, neighbors, labels)
    watch = None if observe is None else watching(observe, trained, cached, store, machine)
    rate = recipe.training.learning_rate
    prepare = later(trained, cached, store, machine, rate) if trained.prepares_at else None
    outcome = _train(trained, batches, recipe, machine, run, resume, watch, prepare)
    network.method = trained.result()
    embedded = _embedded(network, cached, store, machine)
    rows, features = embedded.rows, embedded.features
    if several and network.frozen is None:
        outcome, learned = _renewed(network.method, recipe, features, outcome, machine)
        if learned:
            del embedded  # before there is another: of many clusters, one fills a disk
            embedded = embed_features(network.method, rows, features, machine)
        if watch is not None:
            watch(outcome.steps, outcome.seconds)
    if trained.concludes:
        del embedded
        network.method.conclude(as_tensor(features))
        embedded = embed_features(network.method, rows, features, machine)
    decide_close_calls(network, store, machine, embedded)
    outcome = _ended(outcome, embedded, recipe, trained)
    if rank() == 0:
        network.save(run.model_file)
        write_results(run, store, embedded, recipe, machine, outcome, network.track, network.method.figures())
    wait()
    return Clustering(recipe, network, machine, store, embedded, run)


def _renewed(
    method: Method, recipe: Recipe, features: np.ndarray, outcome: Outcome, machine: Machine
) -> tuple[Outcome, bool]:
    """What the training took and showed with new heads, and whether one of them is the method's own now."""
    start, warnings = time.monotonic(), outcome.warnings
    learned = renew_head(method, recipe, features, machine)
    if learned:
        warnings = [f"before the head was replaced, {warning}" for warning in warnings]
    seconds = outcome.seconds + time.monotonic() - start
    return replace(outcome, seconds=seconds, warnings=warnings, head_replaced=learned), learned


def _ended(outcome: Outcome, embedded: Embedded, recipe: Recipe, trained: Method) -> Outcome:
    """The outcome, with a warning if it was short, or a few clusters have most of the images, not judged before."""
    counts = torch.from_numpy(embedded.categorical.argmax(axis=1)).bincount(minlength=recipe.method.num_clusters)
    warnings = []
    if recipe.model.weights == "none" and not (recipe.model.frozen or recipe.model.start):
        warnings += filter(None, [too_short(outcome.steps)])
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


def _heads_go_on(recipe: Recipe, start: RunDirectory, several: bool) -> bool:
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
    if several and recipe.model.frozen:
        # of several heads, one that is trained already would have the lowest loss for that alone
        say(f"{recipe.training.heads} new heads on the features of that run; training.heads=1 goes on with its own")
        return False
    return True


def _load(recipe: Recipe, source: ImageSource) -> ImageStore:
    needed = 0 if recipe.model.weights == "none" else 3  # weights are of networks for colour
    return image_store(source, recipe.data, channels=needed, strict=recipe.data.strict)


def _resolved(recipe: Recipe, source: ImageSource, store: ImageStore) -> Recipe:
    recipe = with_budget(recipe, len(store))
    if recipe.training.batch_size % world_size():
        raise InputError(
            f"a batch of {recipe.training.batch_size} cannot be shared equally by {world_size()} processes; "
            "choose a training.batch_size that can."
        )
    data = recipe.data
    data.channels = 1 if store.channels == 1 else 3
    data.source, data.digest, data.num_images = source.spec, source.digest(), len(store)
    return recipe


def _network_words(recipe: Recipe) -> str:
    how = "frozen" if recipe.model.frozen else "from scratch" if recipe.model.weights == "none" else "fine-tuned"
    if recipe.model.start:
        how += f", from the run in {recipe.model.start}"
    return f"{title(recipe)} with {recipe.method.num_clusters:,} clusters on {recipe.model.backbone} ({how})"


def _embedded(network: Network, cached: CachedFeatures | None, store: ImageStore, machine: Machine) -> Embedded:
    if cached is None:
        return embed(network, store, machine)
    return embed_features(network.method, cached.rows, cached.plain, machine)


def _prepare(
    trained: Method,
    network: Network,
    cached: CachedFeatures | None,
    store: ImageStore,
    recipe: Recipe,
    machine: Machine,
    begun: bool,
) -> Neighbors | None:
    """Let the method see the features of all images if it wants to first, and find the neighbours if they are wanted.

    Both depend on the network before its first step alone, so that a resume finds the same. What the method made of the
    features is in the checkpoint where the training has `begun`.
    """
    count = min(recipe.training.neighbors or 0, len(store) - 1)
    first = trained.prepares_at == 0 and not begun
    if not (count or first):
        return None
    if recipe.model.weights == "none" and not (recipe.model.frozen or recipe.model.start):
        settle_norms(trained.backbone, store, machine, recipe.training.batch_size, recipe.training.seed)
        if first:
            say(
                f"note: {recipe.method.name} starts from the features of an untrained network, which hold hardly "
                "any groups; method.settings.warmup=0.5 lets it learn some first"
            )
    if cached is None:
        rows, features = embed(network, store, machine)[:2]
    else:
        trained.to(machine.device)
        rows, features = cached.rows, cached.plain
    if first:
        trained.prepare(as_tensor(features))
    trained.train()
    if not count:
        return None
    nearest = nearest_images(features, min(count, len(features) - 1))
    if cached is None and len(features) < len(store):
        # an image that turned unreadable meanwhile is nobody's neighbour, and its own only one
        among = np.tile(np.arange(len(store))[:, None], nearest.shape[1])
        among[rows] = rows[nearest]
        nearest = among
    return Neighbors(nearest, recipe.training.seed)


def _batches(
    frozen: Backbone | None,
    cached: CachedFeatures | None,
    store: ImageStore,
    recipe: Recipe,
    machine: Machine,
    neighbors: Neighbors | None,
    labels: np.ndarray | None,
) -> Batches:
    training = recipe.training
    batches: ImageBatches | FeatureBatches | FreshFeatures
    if cached is not None and len(cached.rows) < len(store):
        store = store.part(cached.rows)  # some turned unreadable meanwhile
    if cached is not None and len(cached.views):
        batches = FeatureBatches(cached.views, cached.plain, training.batch_size, training.seed, neighbors)
    else:
        if store.in_memory and machine.has_room_for(store.memory_bytes):
            store.copy_to(machine.device)
        views = Views(recipe.views, store.size, machine.dtype)
        batches = ImageBatches(store, views, training.batch_size, training.seed, neighbors)
        if frozen is not None:
            frozen.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            batches = FreshFeatures(batches, folded(frozen, random_images(store, machine)))
    return batches if labels is None else LabelledBatches(batches, labels[store.indices])


def _train(
    method: Method,
    batches: Batches,
    recipe: Recipe,
    machine: Machine,
    run: RunDirectory,
    resume: bool,
    watch: Callable[[int, float], None] | None,
    prepare: Callable[[], None] | None,
) -> Outcome:
    def decided(plan: Plan) -> None:
        # from here on the run is reproducible without a clock: a resume, or anybody, trains these steps at these rates
        recipe.training.steps, recipe.training.hold_steps = plan.total_steps, plan.hold_steps
        if rank() == 0:
            write_text(run.recipe_file, recipe.to_toml())

    clusters = recipe.method.num_clusters
    outcome = train(method, batches, recipe.training, machine, run.path, clusters, resume, decided, watch, prepare)
    length = f"{plural(outcome.steps, 'step')} ({plural(outcome.epochs, 'epoch')})"
    say(f"trained {length} in {format_seconds(outcome.seconds)}, {outcome.images_per_second:,.0f} images/s")
    return outcome
