"""New heads on the features of a network that was trained from scratch."""

from itertools import count

import numpy as np

from likewise.assembly import new_head
from likewise.config import Recipe, TrainingConfig
from likewise.defaults import fair_batch, fair_neighbors
from likewise.inference import nearest_images
from likewise.methods import BestOf, Method
from likewise.progress import say, track
from likewise.ranks import alone
from likewise.training.batches import FeatureBatches, Neighbors
from likewise.training.machine import Machine
from likewise.training.plan import Plan, build_optimizer

STEPS, EPOCHS = 300, 3  # whichever is more,
MOST_EPOCHS = 50  # but no more of a small set, which would be learnt by heart


def renew_head(method: Method, recipe: Recipe, features: np.ndarray, machine: Machine) -> bool:
    """Replace the head of a trained network by the best of several new ones on its features.

    A network that learns from scratch forms its clusters in the first epochs, from the little that its features know
    then, and they keep it: the targets are what it has said itself. A new head starts from what the features know in
    the end. Its positives are images that are near to each other in them; of several such heads, the one with the
    lowest loss is kept. On CIFAR-10 after 49 epochs, this is worth .07 in accuracy (docs/log.md).

    Every process does the same by itself.

    Args:
        method: Trained; its head is replaced in place.
        recipe: Resolved; says how many heads, and of what kind.
        features: Of all images as they are, float32 [N, F].
        machine: How to compute.

    Returns:
        Whether it was replaced; it stays where no new one has learned anything.
    """
    clusters, total = recipe.method.num_clusters, len(features)
    size = fair_batch(total, clusters)
    epoch_steps = total // size
    steps = min(max(STEPS, EPOCHS * epoch_steps), MOST_EPOCHS * epoch_steps)
    training = TrainingConfig(steps=steps, batch_size=size, seed=recipe.training.seed)
    heads = range(1, 1 + (recipe.training.heads or 1))
    best = BestOf([new_head(recipe, features.shape[1], number) for number in heads]).to(machine.device)
    plan, optimizer = Plan.of(training), build_optimizer(best, training, best.undecayed)
    nearest = nearest_images(features, min(recipe.training.neighbors or fair_neighbors(total, clusters), total - 1))
    say(
        f"now the best of {len(heads)} new heads on what the network has learned, trained by SGD at "
        f"{training.learning_rate:g} whatever the network was; training.heads=1 does without"
    )
    with track("training new heads", total=steps, unit="steps") as tracker, alone():
        batches = FeatureBatches(features[None], features, size, training.seed, Neighbors(nearest, training.seed))
        endless = (batch for epoch in count() for batch in batches.epoch(epoch))
        for step, batch in zip(range(steps), endless, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            views = batches.views(tuple(rows.to(machine.device) for rows in batch), step, best.views)
            with machine.autocast():
                loss = best.training_step(views)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            best.after_step(plan.progress(step + 1))
            tracker.advance()
    learned = bool(best.losses.isfinite().any())
    if learned:
        method.load_state_dict(best.result().inference_state(), strict=False)
    else:
        say("note: no new head on the features has learned anything; the one that was trained with them stays")
    return learned
