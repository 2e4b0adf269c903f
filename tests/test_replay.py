"""Recorded steps on a GPU are the steps that they were recorded from; without a GPU there is nothing to record."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likewise.config import TrainingConfig
from likewise.data import load_images, open_source
from likewise.methods import METHODS
from likewise.models.resnet9 import ResNet9
from likewise.replay import Replayed
from likewise.training.batches import ImageBatches
from likewise.training.fit import MethodTraining, train
from likewise.training.machine import Machine
from likewise.views import ViewConfig, Views

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs")
METHODS_AND_FRAMES = [("cdc", "in-batch"), ("cdc", "moco-v2"), ("cdc", "moco-v3"), ("center", ""), ("scan", "")]


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CUDA_GRAPHS", "1")


def test_unless_it_is_wanted_the_function_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CUDA_GRAPHS", "0")
    made = Replayed(lambda a, b: {"sum": a + b, "product": a * b})
    for number in range(6):
        outputs = made(torch.tensor(float(number)), torch.tensor(2.0))
        assert {name: value.item() for name, value in outputs.items()} == {"sum": number + 2, "product": number * 2}


def test_what_it_makes_has_no_gradient_and_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CUDA_GRAPHS", "0")  # on a GPU the lines below would be run once
    weight, place = torch.ones(3, requires_grad=True), torch.zeros(3)
    made = Replayed(lambda factor: place.copy_(factor * weight.detach()))
    first = made(torch.tensor(1.0))
    assert made(torch.tensor(2.0)).tolist() == [2, 2, 2]
    assert first.tolist() == [1, 1, 1]
    assert not Replayed(lambda factor: factor * weight)(torch.tensor(1.0)).requires_grad


@on_a_gpu
def test_replays_compute_what_calls_compute() -> None:
    def steps(count: int, replay: bool) -> tuple[list[float], Tensor]:
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)).cuda()
        optimizer = torch.optim.SGD(layer.parameters(), 0.1, 0.9)

        def learn(given: Tensor) -> Tensor:
            for parameter in layer.parameters():
                parameter.grad = None
            loss = layer(given).square().mean()
            loss.backward()
            return loss

        function, losses = Replayed(learn) if replay else learn, []
        for number in range(count):
            losses.append(function(torch.full((6, 4), 0.1 * number).cuda() + torch.eye(6, 4).cuda()).item())
            optimizer.step()
        return losses, layer[0].weight.detach().cpu()  # type: ignore[union-attr]

    torch.testing.assert_close(steps(12, True), steps(12, False))


@on_a_gpu
def test_what_cannot_be_recorded_runs_as_it_is() -> None:
    made = Replayed(lambda given: given * given.sum().item())
    assert [made(torch.full((2,), float(n)).cuda()).sum().item() for n in range(8)] == [4.0 * n * n for n in range(8)]


@on_a_gpu
def test_other_shapes_run_as_they_are() -> None:
    made = Replayed(lambda given: given * 2)
    assert [len(made(torch.ones(n).cuda())) for n in (3, 3, 3, 3, 3, 2, 3)] == [3, 3, 3, 3, 3, 2, 3]


def _log(folder: Path, name: str, frame: str, machine: Machine) -> Tensor:
    """Losses and clusters' figures of a short training."""
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    torch.manual_seed(0)
    kind = METHODS[name][0]
    settings = {"frame": frame, "queue_size": 40, "momentum_schedule": "cosine"} if frame else {}
    method = kind(ResNet9(3, width=8), 64, 4, kind.Config(**settings))
    store = load_images(open_source(images), 16)
    batches = ImageBatches(store, Views(ViewConfig(), 16), 32, seed=0)
    training = TrainingConfig(steps=10, batch_size=32, warmup_steps=2, learning_rate=0.01)
    train(method, batches, training, machine, folder, 4)
    rows = (folder / "log.csv").read_text().splitlines()
    return torch.tensor([[float(value) for value in row.split(",")[3:]] for row in rows[1:]])


every_frame = pytest.mark.parametrize(("name", "frame"), METHODS_AND_FRAMES)


@every_frame
def test_a_step_as_it_is_recorded_is_a_step(
    name: str, frame: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine("cpu", bf16=False, compile=False, reason="test")
    usual = _log(tmp_path / "usual", name, frame, machine)
    monkeypatch.setattr(MethodTraining, "_replays", True)  # where nothing can be recorded, it is called
    assert torch.equal(_log(tmp_path / "other", name, frame, machine), usual)


@on_a_gpu
@every_frame
def test_training_is_the_same(name: str, frame: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine("cuda", bf16=False, compile=False, reason="test")
    replayed = _log(tmp_path / "replayed", name, frame, machine)
    monkeypatch.setenv("LIKEWISE_CUDA_GRAPHS", "0")
    torch.testing.assert_close(replayed, _log(tmp_path / "usual", name, frame, machine), rtol=2e-3, atol=2e-3)
