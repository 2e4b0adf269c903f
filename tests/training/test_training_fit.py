"""Training through Lightning: the same as a bare loop in result, resumable to the bit, and it says what goes wrong."""

import time
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from likewise.config import TrainingConfig
from likewise.data import load_images, open_source
from likewise.errors import InputError
from likewise.methods import CDC, CDCConfig, Center, CenterConfig, Method
from likewise.models.resnet9 import ResNet9
from likewise.models.synced_norm import synchronise_norms
from likewise.training import fit
from likewise.training.batches import ImageBatches
from likewise.training.callbacks import CALIBRATION_STEPS, Budget, Diverged, EpochCheckpoint
from likewise.training.fit import Interrupted, Outcome, train
from likewise.training.machine import Machine, adapt
from likewise.training.plan import Plan
from likewise.views import ViewConfig, Views

BATCH, IMAGES, CLUSTERS = 16, 48, 4
MACHINES = {
    "fp32": Machine("cpu", bf16=False, compile=False, reason="test"),
    "bf16": Machine("cpu", bf16=True, compile=False, reason="test"),
}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _always_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_SHARE", float("inf"))
    monkeypatch.setattr("likewise.methods.center.RESEED_STEPS", 4)  # so that it happens
    monkeypatch.setattr("likewise.methods.center.STEPS_FOR_EACH", 0)


def new_method(frame: str) -> Method:
    torch.manual_seed(0)
    if frame == "center":
        settings = CenterConfig(hidden_dim=32, projection_dim=16, reseed=True)
        return Center(ResNet9(3, width=8), 64, CLUSTERS, settings)
    config = CDCConfig(frame=frame, hidden_dim=32, instance_dim=16, queue_size=40)  # type: ignore[arg-type]
    return CDC(ResNet9(3, width=8), 64, CLUSTERS, config)


def run(
    method: Method,
    images: np.ndarray,
    folder: Path,
    epochs: int,
    machine: Machine,
    resume: bool = False,
    **changes: object,
) -> Outcome:
    store = load_images(open_source(images), 12)
    batches = ImageBatches(store, Views(ViewConfig(), 12, machine.dtype), BATCH, seed=3)
    steps = epochs * (IMAGES // BATCH)
    training = TrainingConfig(steps=steps, batch_size=BATCH, warmup_steps=2, **changes)  # type: ignore[arg-type]
    return train(method, batches, training, machine, folder, CLUSTERS, resume)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Make the user press Ctrl-C in the middle of the training."""

    class PressesKeys(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object, **__: object) -> None:
            if trainer.global_step == steps:
                raise KeyboardInterrupt

    original = fit._trainer
    monkeypatch.setattr(fit, "_trainer", lambda m, f, callbacks: original(m, f, [*callbacks, PressesKeys()]))


@pytest.mark.parametrize("frame", ["in-batch", "moco-v2", "moco-v3", "center"])
@pytest.mark.parametrize("machine", MACHINES)
def test_interrupted_and_resumed_is_the_same_to_the_bit(
    frame: str, machine: str, images: np.ndarray, tmp_path: Path
) -> None:
    whole = new_method(frame)
    run(whole, images, tmp_path / "whole", 4, MACHINES[machine])

    half = new_method(frame)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 8)  # in the middle of the third epoch
        with pytest.raises(Interrupted, match="--resume"):
            run(half, images, tmp_path / "half", 4, MACHINES[machine])
    resumed = new_method(frame)
    run(resumed, images, tmp_path / "half", 4, MACHINES[machine], resume=True)

    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "half")]
    without_times = [[line.split(",")[:2] + line.split(",")[3:] for line in log] for log in logs]
    assert without_times[0] == without_times[1]


def test_all_processes_go_on_from_one_checkpoint_or_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "last.ckpt"
    assert fit._checkpoint(file) is None
    file.touch()
    assert fit._checkpoint(file) == file
    monkeypatch.setattr(fit, "agreed", lambda numbers: [False])  # the first process sees none
    with pytest.raises(InputError, match="a disk that all machines share"):
        fit._checkpoint(file)


def noisy_method() -> Method:
    torch.manual_seed(0)
    backbone = nn.Sequential(ResNet9(3, width=8), nn.Dropout(0.3))
    return CDC(backbone, 64, CLUSTERS, CDCConfig(hidden_dim=32, instance_dim=16))


def test_what_a_network_draws_by_itself_is_the_same_after_a_resume(images: np.ndarray, tmp_path: Path) -> None:
    whole, half, resumed = (noisy_method() for _ in range(3))
    outside = torch.random.get_rng_state()
    run(whole, images, tmp_path / "whole", 4, MACHINES["fp32"])
    assert torch.equal(torch.random.get_rng_state(), outside)  # the user's own numbers go on as they were
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Interrupted):
            run(half, images, tmp_path / "half", 4, MACHINES["fp32"])
    torch.manual_seed(99)
    run(resumed, images, tmp_path / "half", 4, MACHINES["fp32"], resume=True)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_checkpoint_of_another_network_is_said(images: np.ndarray, tmp_path: Path) -> None:
    run(new_method("in-batch"), images, tmp_path, 1, MACHINES["fp32"])
    with pytest.raises(InputError, match="of another network than"):
        run(new_method("center"), images, tmp_path, 2, MACHINES["fp32"], resume=True)


def test_the_same_seed_gives_the_same_run(images: np.ndarray, tmp_path: Path) -> None:
    one, other = new_method("in-batch"), new_method("in-batch")
    run(one, images, tmp_path / "one", 2, MACHINES["bf16"])
    run(other, images, tmp_path / "other", 2, MACHINES["bf16"])
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_lightning_does_what_a_bare_loop_does(images: np.ndarray, tmp_path: Path) -> None:
    trained = new_method("moco-v2")
    run(trained, images, tmp_path, 2, MACHINES["fp32"])

    method = new_method("moco-v2")
    store = load_images(open_source(images), 12)
    batches = ImageBatches(store, Views(ViewConfig(), 12), BATCH, seed=3)
    training = TrainingConfig(steps=6, batch_size=BATCH, warmup_steps=2)
    plan, optimizer = fit.Plan.of(training), fit.build_optimizer(method, training)
    adapt(method.train(), MACHINES["fp32"])
    step = 0
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            loss = method.training_step(batches.views(batch, step, method.views))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step()
            step += 1
    for (name, one), other in zip(trained.state_dict().items(), method.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_checkpoint_holds_nothing_that_could_be_executed(images: np.ndarray, tmp_path: Path) -> None:
    run(new_method("in-batch"), images, tmp_path, 1, MACHINES["fp32"])
    content = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 3
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_told(images: np.ndarray, tmp_path: Path, content: bytes) -> None:
    run(new_method("in-batch"), images, tmp_path, 1, MACHINES["fp32"])
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read as a checkpoint .* Delete it"):
        run(new_method("in-batch"), images, tmp_path, 2, MACHINES["fp32"], resume=True)


def test_synchronised_norms_keep_their_activations() -> None:
    import timm

    backbone = timm.create_model("mobilenetv3_small_050", num_classes=0).eval()
    method = CDC(backbone, backbone.num_features, CLUSTERS, CDCConfig(hidden_dim=32)).eval()
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = method.embed(pixels)
        synchronise_norms(method, "cuda")
        torch.testing.assert_close(method.embed(pixels), before)
    norms = [module for module in method.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)


def test_a_divergence_is_told_and_not_a_crash(images: np.ndarray, tmp_path: Path) -> None:
    method = new_method("in-batch")
    with torch.no_grad():
        last = method.encoder.head[-1]
        assert isinstance(last, nn.Linear)
        last.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"diverged.*step 3.*learning rate"):
        run(method, images, tmp_path, 1, MACHINES["fp32"])


def test_a_method_has_columns_of_its_own(images: np.ndarray, tmp_path: Path) -> None:
    run(new_method("center"), images, tmp_path, 4, MACHINES["fp32"])
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    terms = "instance_loss,clustering_loss,anchor_loss,assignment_entropy"
    assert header == f"step,epoch,seconds,lr,loss,{terms},size_entropy,largest_share"
    assert [row.split(",")[0] for row in rows] == ["10", "12"]


def test_a_damaged_end_of_the_log_is_cut_off_on_a_resume(images: np.ndarray, tmp_path: Path) -> None:
    run(new_method("in-batch"), images, tmp_path, 4, MACHINES["fp32"])
    log = tmp_path / "log.csv"
    whole = log.read_text()
    log.write_text(whole + "13,4,1.5,0.1\n14,4,1,1,1,1,1,1,1,1,1,1\n1")
    run(new_method("in-batch"), images, tmp_path, 4, MACHINES["fp32"], resume=True)
    assert log.read_text() == whole


def test_curves_and_events_are_written(images: np.ndarray, tmp_path: Path) -> None:
    outcome = run(new_method("in-batch"), images, tmp_path, 4, MACHINES["fp32"])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,seconds,lr,loss,contrastive_loss,cluster_loss,size_entropy,largest_share"
    assert [line.split(",")[0] for line in lines[1:]] == ["10", "12"]
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert (outcome.steps, outcome.epochs) == (12, 4)
    assert outcome.images_per_second > 0


def test_a_budget_in_minutes_becomes_steps_that_a_recipe_can_name(images: np.ndarray, tmp_path: Path) -> None:
    store = load_images(open_source(images), 12)
    batches = ImageBatches(store, Views(ViewConfig(), 12), BATCH, seed=3)
    training = TrainingConfig(minutes=0.05, batch_size=BATCH, warmup_steps=5)
    decided: list[Plan] = []
    outcome = train(
        new_method("in-batch"), batches, training, MACHINES["fp32"], tmp_path, CLUSTERS, False, decided.append
    )
    assert [plan.total_steps for plan in decided] == [outcome.steps]
    assert 1.0 < outcome.seconds < 10.0


def test_a_budget_counts_on_steps_that_take_longer_later() -> None:
    plans = []
    for cost in (1.0, 1.25):
        plan = Plan(peak=0.1, warmup_steps=2, total_steps=None)
        budget = Budget(plan, 1.0, lambda plan: None, cost)
        budget._start -= 20  # of which 40 steps have taken 20 seconds
        budget._last, budget._times = time.monotonic(), [0.5] * CALIBRATION_STEPS
        budget._measure(5)
        plans.append(plan)
    assert [plan.hold_steps for plan in plans] == [5, 5]
    assert plans[0].total_steps == pytest.approx(5 + 80, abs=2)
    assert plans[1].total_steps == pytest.approx((5 + 80) / 1.25, abs=2)


@pytest.mark.parametrize("stop", [None, 12])
def test_a_budget_in_minutes_trains_what_its_recipe_trains(
    stop: int | None, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.training.callbacks.CALIBRATION_STEPS", 15)
    # a clock that goes on at every look: how fast this machine is today does not matter
    ticks = count(step=0.01)
    monkeypatch.setattr("likewise.training.callbacks.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    store = load_images(open_source(images), 12)
    batches = ImageBatches(store, Views(ViewConfig(), 12), BATCH, seed=3)
    training = TrainingConfig(minutes=0.04, batch_size=BATCH, warmup_steps=5)
    method, plans = new_method("in-batch"), []
    train(method, batches, training, MACHINES["fp32"], tmp_path / "timed", CLUSTERS, False, plans.append)
    (plan,) = plans
    named = training.model_copy(update={"steps": plan.total_steps, "hold_steps": plan.hold_steps})
    again = new_method("in-batch")
    if stop is not None:  # before the budget had become steps
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, stop)
            with pytest.raises(Interrupted):
                train(again, batches, named, MACHINES["fp32"], tmp_path / "again", CLUSTERS)
        again = new_method("in-batch")
    train(again, batches, named, MACHINES["fp32"], tmp_path / "again", CLUSTERS, resume=stop is not None)
    assert all(
        torch.equal(a, b) for a, b in zip(method.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_a_long_epoch_is_resumed_in_its_middle(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = new_method("moco-v2")
    run(whole, images, tmp_path / "whole", 2, MACHINES["fp32"])
    monkeypatch.setattr(fit, "LONGEST_LEG", 2)
    half, resumed = new_method("moco-v2"), new_method("moco-v2")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3)  # a leg of two steps ended, the epoch of three has not
        with pytest.raises(Interrupted):
            run(half, images, tmp_path / "half", 2, MACHINES["fp32"])
    run(resumed, images, tmp_path / "half", 2, MACHINES["fp32"], resume=True)
    assert "resuming after step 2" in capsys.readouterr().err
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_looking_on_changes_nothing(images: np.ndarray, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    plain, watched = new_method("moco-v2"), new_method("moco-v2")
    run(plain, images, tmp_path / "plain", 5, MACHINES["bf16"])
    store = load_images(open_source(images), 12)
    batches = ImageBatches(store, Views(ViewConfig(), 12, torch.bfloat16), BATCH, seed=3)
    training = TrainingConfig(steps=15, batch_size=BATCH, warmup_steps=2)

    def observe(step: int, seconds: float) -> None:
        seen.append((step, seconds))
        time.sleep(0.2)

    outcome = train(watched, batches, training, MACHINES["bf16"], tmp_path / "watched", CLUSTERS, observe=observe)
    assert [step for step, _ in seen] == [2, 3, 5, 6, 8, 9, 11, 12, 14, 15]
    assert outcome.seconds - seen[-1][1] < 0.2, "looking is no training"
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    )


def test_checkpoints_take_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_EVERY", 5.0)
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_SHARE", 0.02)
    monkeypatch.setattr("likewise.training.callbacks.time", SimpleNamespace(monotonic=lambda: clock["now"]))
    written: list[float] = []

    def save(_: Path, seconds: float) -> None:
        written.append(clock["now"])
        clock["now"] += seconds

    for seconds, expected in ((0.0, [5, 10, 15, 20]), (0.5, [5, 30.5, 56, 81.5]), (60, [5, 365, 725])):
        clock["now"] = 0.0
        written.clear()
        writer = EpochCheckpoint(tmp_path)
        trainer: Any = SimpleNamespace(save_checkpoint=partial(save, seconds=seconds))
        while len(written) < len(expected):
            clock["now"] += 1
            writer.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
        assert written == pytest.approx(expected, abs=1)
