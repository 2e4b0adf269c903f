"""Training through Lightning: a method, its batches, and a run directory for what comes of it."""

import logging
import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from likewise.config import TrainingConfig
from likewise.errors import InputError, RunError
from likewise.methods import Method
from likewise.models.synced_norm import synchronise_norms
from likewise.progress import track
from likewise.ranks import agreed, rank, share_buffers, world_size
from likewise.training.batches import Batch, Batches, seed_noise
from likewise.training.callbacks import (
    AtomicCheckpoints,
    Budget,
    Curves,
    EpochCheckpoint,
    Health,
    Observer,
    Preparation,
    Progress,
)
from likewise.training.machine import Machine, adapt
from likewise.training.plan import Plan, build_optimizer


class Interrupted(RunError):
    """The user stopped the run."""


@dataclass(frozen=True)
class Outcome:
    """What a training took and what was noticed in it.

    Attributes:
        steps: Optimiser updates.
        epochs: Passes over the images, the last one counted in full.
        seconds: Wall-clock time, without what comes before and after.
        images_per_second: Images, not views.
        warnings: Sentences for the user.
        head_replaced: Whether its head was replaced by a new one on its features afterwards.
    """

    steps: int
    epochs: int
    seconds: float
    images_per_second: float
    warnings: list[str]
    head_replaced: bool = False


LONGEST_LEG = 200  # steps


class Leg:
    """The batches of an epoch, or of a part of a long one: what Lightning takes for an epoch.

    Checkpoints are written where a leg ends, so that a run over many images need not reach the end of an epoch to be
    resumable. No step depends on where legs end.

    Args:
        batches: What to train on.
        number: Of the leg, counted from the start of the run.
    """

    def __init__(self, batches: Batches, number: int) -> None:
        per_epoch = -(-batches.steps_per_epoch // LONGEST_LEG)
        self.batches = batches
        self.epoch, part = divmod(number, per_epoch)
        self.start = part * LONGEST_LEG

    def __len__(self) -> int:
        return min(LONGEST_LEG, self.batches.steps_per_epoch - self.start)

    def __iter__(self) -> Iterator[Batch]:
        with closing(self.batches.epoch(self.epoch, self.start)) as rest:
            yield from islice(rest, len(self))


class MethodTraining(L.LightningModule):
    """Lightning's view of a method: views, a step at the planned rate, and what follows it."""

    def __init__(self, method: Method, batches: Batches, plan: Plan, training: TrainingConfig) -> None:
        super().__init__()
        self.method, self.batches, self.plan, self.training_config = method, batches, plan, training

    def train_dataloader(self) -> Leg:
        return Leg(self.batches, self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.method, self.training_config, self.method.undecayed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.plan.rate(self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        views = self.batches.views(batch, self.global_step, self.method.views)
        seed_noise(self.training_config.seed, self.global_step)
        return self.method.training_step(views)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.method.after_step(self.plan.progress(self.global_step))

    def on_train_end(self) -> None:
        share_buffers(self.method)  # now: afterwards Lightning takes the network off its device


def train(
    method: Method,
    batches: Batches,
    training: TrainingConfig,
    machine: Machine,
    folder: Path,
    num_clusters: int,
    resume: bool = False,
    decided: Callable[[Plan], None] = lambda plan: None,
    observe: Callable[[int, float], None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> Outcome:
    """Train a method.

    Args:
        method: What to train, in place.
        batches: What to train on.
        training: Schedule and optimiser.
        machine: How to compute.
        folder: The run directory, for checkpoints and curves.
        num_clusters: K.
        resume: Go on from the checkpoint in `folder`, if there is one.
        decided: Called with the plan once a budget in minutes has been turned into steps.
        observe: Called now and then with the step and the seconds of training so far, see `Observer`.
        prepare: Called once on the way, where the method `prepares_at` a share of the training.

    Returns:
        What it took.

    Raises:
        Diverged: If the loss is no longer a number.
        InputError: If the checkpoint is of another network, or not all processes see it.
        Interrupted: If the user stopped it.
    """
    plan = Plan.of(training)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if world_size() > 1:
        synchronise_norms(method, machine.device)
    module = MethodTraining(method, batches, plan, training)
    adapt(method, machine)
    curves = Curves(folder / "log.csv", plan, num_clusters, batches.steps_per_epoch)
    chance = method.chance_loss(batches.batch_size)
    health = Health(plan, num_clusters, chance, method.signs, training.learning_rate)
    start = _checkpoint(checkpoint) if resume else None
    with track("training", total=plan.total_steps, unit="steps") as tracker:
        share, slowdown = method.prepares_at or 0.0, method.slowdown
        cost = share + (1 - share) * slowdown if share else 1.0
        callbacks: list[L.Callback] = [Budget(plan, training.minutes, decided, cost)]
        if rank() == 0:
            callbacks.append(curves)
        callbacks += [health, Progress(tracker, plan, batches.steps_per_epoch), EpochCheckpoint(checkpoint)]
        if observe is not None:
            callbacks.append(Observer(plan, curves, observe))
        if share and prepare is not None:
            callbacks.append(Preparation(plan, curves, share, prepare))
        trainer = _trainer(machine, folder, callbacks)
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if machine.device == "cuda" else []):
            _fit(trainer, module, start, folder)
    seconds, steps = curves.seconds(), trainer.global_step
    rate = steps * batches.batch_size / seconds
    return Outcome(steps, -(-steps // batches.steps_per_epoch), seconds, rate, list(health.warnings.values()))


def _checkpoint(file: Path) -> Path | None:
    """The checkpoint to go on from, the same on all processes; None where the first has none."""
    there = file.is_file()
    if there == bool(agreed([there])[0]):
        return file if there else None
    raise InputError(
        f"the processes of this training do not see the same {file}: the run directory must be on a disk that all "
        "machines share."
    )


def _quieten_lightning() -> None:
    """What Lightning says of devices and products at the start is said by `Machine`, in one line."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _trainer(machine: Machine, folder: Path, callbacks: list[L.Callback]) -> L.Trainer:
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning.pytorch.loggers import TensorBoardLogger

    _quieten_lightning()
    several = world_size() > 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if several else 1
    return L.Trainer(
        accelerator=machine.device,
        devices=here,
        num_nodes=world_size() // here,
        strategy="ddp_find_unused_parameters_true" if several else "auto",
        precision="bf16-mixed" if machine.bf16 else "32-true",
        max_epochs=-1,  # the budget ends the run
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        callbacks=callbacks,
        # one process, also where a job scheduler's variables speak of several, unless torchrun has started them
        plugins=[AtomicCheckpoints(), TorchElasticEnvironment() if several else LightningEnvironment()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )


def _fit(trainer: L.Trainer, module: MethodTraining, checkpoint: Path | None, folder: Path) -> None:
    with warnings.catch_warnings():
        # advice about DataLoaders and checkpoints that are deliberately not used here
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, ckpt_path=checkpoint)
        except (KeyboardInterrupt, SystemExit) as stop:
            raise interrupted(folder) from stop
        except RuntimeError as error:
            if checkpoint is None or "loading state_dict" not in str(error):
                raise
            raise InputError(
                f"{checkpoint} is of another network than recipe.toml describes: put the recipe back as the run wrote "
                "it, or start a new run with the changed one."
            ) from error
    if trainer.interrupted:
        raise interrupted(folder)


def interrupted(folder: Path) -> Interrupted:
    """What to say to the user who has stopped the run in `folder`."""
    return Interrupted(
        f"stopped; continue from the last checkpoint with: likewise cluster --resume -o {shlex.quote(str(folder))}"
    )
