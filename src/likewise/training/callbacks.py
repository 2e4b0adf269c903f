"""What happens around the training steps: progress, curves, health, the budget, checkpoints."""

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import CheckpointIO

from likewise.errors import InputError, RunError, first_line
from likewise.methods.base import Signs
from likewise.progress import Tracker, say
from likewise.ranks import agreed
from likewise.runs.files import replacing
from likewise.training.health import Window, findings
from likewise.training.plan import Plan

LOG_EVERY = 10  # steps
CHECKPOINT_EVERY = 5.0  # seconds at least between two checkpoints, for epochs that are shorter than writing one
CHECKPOINT_SHARE = 0.02  # of the time, at most, that writing checkpoints takes
CHECKPOINT_AT_LEAST_EVERY = 300.0  # seconds, however long writing takes
OBSERVATIONS = 10  # in a training that is observed
LONGEST_CALIBRATION = 120  # seconds; a run that is stopped before has to begin again with it
CALIBRATION_STEPS = 40  # after the warm-up, a budget in minutes becomes a number of steps


class AtomicCheckpoints(CheckpointIO):
    """Writes checkpoints under a temporary name, and reads nothing but tensors and plain values from them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        try:
            return torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # torch has one for every way in which a file can be damaged
            raise InputError(
                f"{path} cannot be read as a checkpoint ({first_line(error)}). Delete it, and --resume starts the "
                "training again."
            ) from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class EpochCheckpoint(L.Callback):
    """Writes `last.ckpt` at the end of an epoch, or of a leg of a long one, unless the last is only seconds old."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written, self._pause = 0.0, CHECKPOINT_EVERY

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # processes write together or not at all
        since, pause = agreed([time.monotonic() - self._written, self._pause])
        if since >= pause:
            start = time.monotonic()
            trainer.save_checkpoint(self.path)
            self._written = time.monotonic()
            pause = max(CHECKPOINT_EVERY, (self._written - start) / CHECKPOINT_SHARE)
            self._pause = min(pause, CHECKPOINT_AT_LEAST_EVERY)


class Budget(L.Callback):
    """Ends the run after its steps, and turns a budget in minutes into steps once the speed is known.

    Args:
        plan: The schedule, whose `total_steps` it sets.
        minutes: The budget, or None where the steps are given.
        decided: Called with the plan then, so that the recipe can name its steps.
        cost: How many times as long as one of the first steps the steps of the whole run take in the mean.
    """

    def __init__(self, plan: Plan, minutes: float | None, decided: Any, cost: float = 1.0) -> None:
        self.plan, self.minutes, self.decided, self.cost = plan, minutes, decided, cost
        self._start = time.monotonic()
        self._times: list[float] = []
        self._last: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.monotonic()
        self._stop_when_done(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.plan.total_steps is None:
            self._measure(trainer.global_step)
        self._stop_when_done(trainer)

    def _stop_when_done(self, trainer: L.Trainer) -> None:
        if self.plan.total_steps is not None and trainer.global_step >= self.plan.total_steps:
            trainer.should_stop = True

    def _measure(self, step: int) -> None:
        now = time.monotonic()
        # the first steps allocate and compile
        if self._last is not None and step > 5:
            self._times.append(now - self._last)
        self._last = now
        assert self.minutes is not None
        budget = 60 * self.minutes
        # the mean, since checkpoints and epochs' ends cost time as well
        elapsed, pace = agreed([now - self._start, sum(self._times) / max(len(self._times), 1)])
        enough = step >= self.plan.warmup_steps and len(self._times) >= CALIBRATION_STEPS
        # a machine that others use is fast one minute and slow the next: a longer budget is measured for longer
        long_enough = elapsed > min(0.1 * budget, LONGEST_CALIBRATION)
        if not ((enough and long_enough) or (self._times and elapsed > 0.2 * budget)):
            return
        # the steps so far ran at the full rate: the cosine starts now, and so it does when the recipe is trained again
        self.plan.hold_steps = step
        self.plan.total_steps = max(step + 1, int((step + (budget - elapsed) / pace) / self.cost))
        self.decided(self.plan)


class Curves(L.Callback):
    """Appends mean losses and the clusters' figures to log.csv and to TensorBoard, every few steps.

    The columns are step, epoch, seconds, learning rate, then the method's own terms, then the clusters' figures.

    Args:
        path: The log; on a resume, rows of steps that will be repeated are dropped.
        plan: For the learning rate.
        num_clusters: K.
        steps_per_epoch: For the number of the epoch.
    """

    def __init__(self, path: Path, plan: Plan, num_clusters: int, steps_per_epoch: int) -> None:
        self.path, self.plan, self.num_clusters, self.steps_per_epoch = path, plan, num_clusters, steps_per_epoch
        self._window = self._new_window()
        self._rows: list[dict[str, Any]] = []
        self._start = time.monotonic()
        self._before = 0.0  # seconds trained before a resume

    def _new_window(self) -> Window:
        return Window(self.num_clusters)

    def seconds(self) -> float:
        """Seconds of training so far, over all resumes."""
        return self._before + time.monotonic() - self._start

    def leave_out(self, seconds: float) -> None:
        """Count so many seconds, which have just passed, as no training."""
        self._start += seconds

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.monotonic()
        kept: list[dict[str, Any]] = []
        if trainer.global_step and self.path.is_file():
            with self.path.open(encoding="utf-8", newline="") as file:
                kept = [row for row in csv.DictReader(file) if _step_of(row) <= trainer.global_step]
            self._before = float(kept[-1]["seconds"]) if kept else 0.0
        with replacing(self.path) as temporary:
            _append(temporary, kept)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # a row averages over steps of its own leg only: a resume, which starts at one, writes the same rows
        self._window = self._new_window()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._window.add(outputs)
        if trainer.global_step % LOG_EVERY and trainer.global_step != self.plan.total_steps:
            return
        row: dict[str, Any] = {
            "step": trainer.global_step,
            "epoch": (trainer.global_step - 1) // self.steps_per_epoch,
            "seconds": round(self.seconds(), 3),
            "lr": self.plan.rate(trainer.global_step - 1),
        }
        row |= {name: float(f"{value:.6g}") for name, value in self._window.figures().items()}
        self._rows.append(row)
        if trainer.logger is not None:
            trainer.logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=trainer.global_step)
        self._window = self._new_window()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._flush()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._flush()

    def _flush(self) -> None:
        _append(self.path, self._rows)
        self._rows.clear()


class Health(L.Callback):
    """Stops at a loss that is not a number, and warns of collapsing clusters, each kind of warning once.

    Args:
        plan: For how far the run is.
        num_clusters: K.
        chance_loss: The contrastive loss where no images are told apart.
        signs: Of the method.
        learning_rate: As the recipe names it.
    """

    def __init__(self, plan: Plan, num_clusters: int, chance_loss: float, signs: Signs, learning_rate: float) -> None:
        self.plan, self.num_clusters, self.chance_loss, self.signs = plan, num_clusters, chance_loss, signs
        self.learning_rate = learning_rate
        self.warnings: dict[str, str] = {}
        self._window = self._new_window()

    def _new_window(self) -> Window:
        return Window(self.num_clusters)

    def state_dict(self) -> dict[str, Any]:
        return {"warnings": self.warnings}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.warnings = dict(state_dict["warnings"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._window.add(outputs)
        if trainer.global_step % LOG_EVERY == 0:
            self._look(trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._look(
            trainer.global_step
        )  # before the checkpoint is written: a broken network must not replace a good one

    def _look(self, step: int) -> None:
        # one NaN makes the sum NaN, so that a look now and then misses none
        if self._window.steps and not math.isfinite(loss := self._window.mean("loss")):
            raise diverged(f"the loss was {loss} by step {step}", self.learning_rate)
        window = self._window
        # sizes of clusters mean something only with images enough
        few = window.sees_clusters and int(window.counts.sum()) < max(1000, 50 * self.num_clusters)
        if few or self.plan.total_steps is None:
            return
        progress = step / self.plan.total_steps if step > self.plan.warmup_steps else 0.0
        for kind, sentence in findings(window, self.chance_loss, progress, self.signs).items():
            if kind not in self.warnings:
                self.warnings[kind] = f"step {step}: {sentence}."
                say(f"warning: {self.warnings[kind]}")
        self._window = self._new_window()


class Observer(L.Callback):
    """Looks at a training at evenly spread steps; the time that takes is no training.

    Before a budget in minutes has become steps there is nothing to spread over, and no look. So a look takes nothing of
    the budget.

    Args:
        plan: For the number of steps.
        curves: The clock that stands still meanwhile.
        observe: Called with the step and the seconds of training so far.
    """

    def __init__(self, plan: Plan, curves: Curves, observe: Callable[[int, float], None]) -> None:
        self.plan, self.curves, self.observe = plan, curves, observe

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, total = trainer.global_step, self.plan.total_steps
        if total is None or step * OBSERVATIONS // total == (step - 1) * OBSERVATIONS // total:
            return
        seconds, start = self.curves.seconds(), time.monotonic()
        self.observe(step, seconds)
        self.curves.leave_out(time.monotonic() - start)


class Preparation(L.Callback):
    """Lets a method see the features of all images at its time in a training; what that takes is no training.

    Args:
        plan: For the number of steps.
        curves: The clock that stands still meanwhile.
        share: Of the training, in 0..1, after which it happens.
        prepare: Does it.
    """

    def __init__(self, plan: Plan, curves: Curves, share: float, prepare: Callable[[], None]) -> None:
        self.plan, self.curves, self.share, self.prepare = plan, curves, share, prepare

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        total = self.plan.total_steps
        if total is None:
            return
        # a budget in minutes may have become steps later than that: then at once, and in any case before the end
        if trainer.global_step == min(max(int(self.share * total), self.plan.hold_steps), total - 1):
            start = time.monotonic()
            self.prepare()
            self.curves.leave_out(time.monotonic() - start)


class Diverged(RunError):
    """The loss or the features became infinite or not a number."""


def diverged(what: str, learning_rate: float) -> Diverged:
    """The error of a training that diverged, with a rate to try instead of the one that it had."""
    lower = f"--set training.learning_rate={learning_rate / 5:.2g}"
    return Diverged(
        f"the training diverged: {what}. Lower the learning rate ({lower}), or compute in fp32 "
        "(--set training.precision=fp32), in a new run with another -o: this one would go on with the settings it has."
    )


class Progress(L.Callback):
    """Shows steps, the time left, epoch and loss."""

    def __init__(self, tracker: Tracker, plan: Plan, steps_per_epoch: int) -> None:
        self.tracker, self.plan, self.steps_per_epoch = tracker, plan, steps_per_epoch

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step:
            say(f"resuming after step {trainer.global_step:,}")
            self.tracker.start_at(trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.plan.total_steps is not None:
            self.tracker.set_total(self.plan.total_steps)
        note = ""
        if trainer.global_step % LOG_EVERY == 0:  # reading a loss makes a GPU wait
            note = f"epoch {(trainer.global_step - 1) // self.steps_per_epoch + 1}, loss {float(outputs['loss']):.3f}"
        self.tracker.advance(1, note)


def _step_of(row: dict[str, Any]) -> float:
    """The step of a row of the log; infinite where a power cut left half a row, or two in one."""
    try:
        return math.inf if None in row or None in row.values() else int(row["step"])
    except ValueError:
        return math.inf


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows of the log; columns that are new are empty in the rows before them."""
    before: list[dict[str, Any]] = []
    with path.open("a+", encoding="utf-8", newline="") as file:
        file.seek(0)
        reader = csv.DictReader(file)
        known = list(reader.fieldnames or [])
        names = list(dict.fromkeys([*known, *(name for row in rows for name in row)]))
        if names == known:
            csv.DictWriter(file, names, lineterminator="\n").writerows(rows)
            return
        before = list(reader)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*before, *rows])
