"""Two processes give the loss, the gradients and the state of one process on the joined batch."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from processes import WORLD, together
from torch import Tensor, nn

from likewise.config import Recipe
from likewise.methods import CDC, METHODS, BestOf, CDCConfig, Center, Method, SelfLabel, SelfLabelConfig
from likewise.models.synced_norm import synchronise_norms
from likewise.ranks import agreed, gather, rank, world_size

BATCH = 12
FRAMES = ["in-batch", "moco-v2", "moco-v3"]
GROUPED = "moco-v2 in groups"  # keys are dealt out within each process, and come back in the order of the batch
OTHERS = [GROUPED, "simclr", "moco-v2 alone", "scan", "center", "supervised", "self-label", "best-of"]
SMALL = {"hidden_dim": 16, "instance_dim": 8, "projection_dim": 8, "queue_size": 30, "reseed": True}


def _cdc(frame: str, seed: int = 0, groups: int = 1) -> CDC:
    torch.manual_seed(seed)
    config = CDCConfig(frame=frame, hidden_dim=16, instance_dim=8, queue_size=30, norm_groups=groups)  # type: ignore[arg-type]
    return CDC(_backbone(), 12, 3, config)


def _backbone() -> nn.Sequential:
    maps = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(maps, nn.Flatten(), nn.Linear(24, 12), nn.BatchNorm1d(12), nn.Tanh())


def _method(name: str) -> Method:
    # groups have batch norms of their own, and those of one process are not those of two
    method = _trainable(name).double().train(name != GROUPED)
    synchronise_norms(method, "cpu")
    return method


def _trainable(name: str) -> Method:
    if name in FRAMES:
        return _cdc(name)
    if name == GROUPED:
        return _cdc("moco-v2", groups=3)
    if name == "self-label":
        return SelfLabel(_cdc("in-batch"), SelfLabelConfig(threshold=0.4))
    if name == "best-of":
        return BestOf([_cdc("in-batch", seed) for seed in range(2)])
    torch.manual_seed(0)
    build = METHODS[name.removesuffix(" alone")][0]
    settings = {setting: value for setting, value in SMALL.items() if setting in build.Config.model_fields}
    method = build(_backbone(), 12, 3, build.Config(**settings))
    if isinstance(method, Center):  # one centre is far from all images, and has been for long: it is moved in this step
        with torch.no_grad():
            method.encoder.centers[0] = 100.0
        method.idle_steps.fill_(1000)
    return method


def _views(method: Method) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    views = [torch.rand(BATCH, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in method.views]
    return (*views, torch.arange(BATCH) % 3) if method.supervised else tuple(views)


def _step(method: Method, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
    out = method.training_step(views)
    out["loss"].backward()
    for parameter in method.parameters():
        if parameter.grad is not None and world_size() > 1:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()
    method.after_step(0.5)
    found = {f"gradient {name}": p.grad for name, p in method.named_parameters() if p.grad is not None}
    return {"loss": out["loss"].detach(), **found, **method.state_dict()}


def _train_in_one_of_two(rank: int, folder: Path) -> None:
    for name in [*FRAMES, *OTHERS]:
        share = slice(rank * BATCH // WORLD, (rank + 1) * BATCH // WORLD)
        method = _method(name)
        torch.save(_step(method, tuple(view[share] for view in _views(method))), folder / f"{name}-{rank}.pt")
    assert agreed([float(rank), 1.0]) == [0.0, 1.0]


def test_two_processes_are_one(tmp_path: Path) -> None:
    together(_train_in_one_of_two, tmp_path)
    for name in [*FRAMES, *OTHERS]:
        method = _method(name)
        expected = _step(method, _views(method))
        assert sum(key.startswith("gradient") for key in expected) >= 4, name
        assert name != "center" or (expected["reseeded"] >= 1 and expected["encoder.centers"].max() < 10)
        for process in range(WORLD):
            found = torch.load(tmp_path / f"{name}-{process}.pt", weights_only=True)
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9, msg=f"{name} {key}")


def _cluster_in_one_of_two(method: str, rank: int, folder: Path) -> None:
    from likewise.runs import RunDirectory
    from likewise.workflow import cluster

    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    recipe = Recipe.parse(
        {
            "method": {"name": method, "num_clusters": 3, "settings": {"hidden_dim": 16}},
            "training": {"steps": 4, "batch_size": 16, "precision": "fp32"},
        }
    )
    result = cluster(recipe, images, RunDirectory(folder / "run"))
    np.save(folder / f"clusters-{rank}.npy", result.embedded.probabilities)
    with pytest.raises(Exception, match="holds a run already"):
        cluster(recipe, images, RunDirectory(folder / "run"))


@pytest.mark.parametrize("method", ["cdc", "center"])
def test_a_whole_run_on_two_processes(method: str, tmp_path: Path) -> None:
    together(partial(_cluster_in_one_of_two, method), tmp_path)
    one, other = (np.load(tmp_path / f"clusters-{process}.npy") for process in range(WORLD))
    np.testing.assert_array_equal(one, other)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["training"]["steps"] == 4
    steps = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert len(steps) == 2  # the header, and the end of four steps: written once


def _stopped_and_gone_on_with(rank: int, folder: Path) -> None:
    from likewise.runs import RunDirectory
    from likewise.training import fit
    from likewise.workflow import cluster

    class PressesKeys(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object, **__: object) -> None:
            if trainer.global_step == 6:  # after an epoch of four, which is where a resume goes on from
                raise KeyboardInterrupt

    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    settings = {"frame": "moco-v2", "hidden_dim": 16, "queue_size": 32, "norm_groups": 2}
    training = {"steps": 8, "batch_size": 16, "precision": "fp32"}
    recipe = Recipe.parse({"method": {"num_clusters": 3, "settings": settings}, "training": training})
    whole = cluster(recipe, images, RunDirectory(folder / "whole"))
    half, original = RunDirectory(folder / "half"), fit._trainer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_trainer", lambda m, f, callbacks: original(m, f, [*callbacks, PressesKeys()]))
        with pytest.raises(fit.Interrupted):
            cluster(recipe, images, half)
    torch.distributed.barrier()  # the recipe of the run is written by one of the two
    assert half.checkpoint_file.is_file()
    again = cluster(Recipe.read(half.recipe_file), images, half, resume=True)
    np.savez(folder / f"{rank}.npz", whole=whole.embedded.probabilities, again=again.embedded.probabilities)


def test_stopped_and_gone_on_with_two_processes_are_the_same(tmp_path: Path) -> None:
    together(_stopped_and_gone_on_with, tmp_path)
    found = [np.load(tmp_path / f"{process}.npz") for process in range(WORLD)]
    for process in range(WORLD):
        for name in ("whole", "again"):
            np.testing.assert_array_equal(found[process][name], found[0]["whole"], err_msg=f"{name}, {process}")


def test_alone_nothing_happens() -> None:
    rows = torch.rand(3, 2)
    assert gather(rows) is rows
    assert (rank(), world_size(), agreed([1.0])) == (0, 1, [1.0])
    assert "TORCHELASTIC_RUN_ID" not in os.environ
