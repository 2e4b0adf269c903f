"""Two processes give the loss, the gradients and the state of one process on the joined batch."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import WORLD, together
from torch import Tensor, nn

from likewise.config import Recipe
from likewise.methods import CDC, CDCConfig, Method
from likewise.ranks import agreed, gather, rank, world_size

BATCH = 12
FRAMES = ["in-batch", "moco-v2", "moco-v3"]


def _method(frame: str) -> Method:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.Tanh())
    config = CDCConfig(frame=frame, hidden_dim=16, instance_dim=8, queue_size=30)  # type: ignore[arg-type]
    # in evaluation mode batch norm is the same for every cut of a batch, as synchronised batch norm is on GPUs
    return CDC(backbone, 12, 3, config).double().eval()


def _views() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(BATCH, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return first, second


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
    for frame in FRAMES:
        share = slice(rank * BATCH // WORLD, (rank + 1) * BATCH // WORLD)
        first, second = _views()
        torch.save(_step(_method(frame), (first[share], second[share])), folder / f"{frame}-{rank}.pt")
    assert agreed([float(rank), 1.0]) == [0.0, 1.0]


def test_two_processes_are_one(tmp_path: Path) -> None:
    together(_train_in_one_of_two, tmp_path)
    for frame in FRAMES:
        expected = _step(_method(frame), _views())
        assert sum(name.startswith("gradient") for name in expected) >= 7
        for process in range(WORLD):
            found = torch.load(tmp_path / f"{frame}-{process}.pt", weights_only=True)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=f"{frame} {name}")


def _cluster_in_one_of_two(rank: int, folder: Path) -> None:
    from likewise.runs import RunDirectory
    from likewise.workflow import cluster

    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    recipe = Recipe.parse(
        {
            "method": {"num_clusters": 3, "settings": {"hidden_dim": 16}},
            "training": {"steps": 4, "batch_size": 16, "precision": "fp32"},
        }
    )
    result = cluster(recipe, images, RunDirectory(folder / "run"))
    np.save(folder / f"clusters-{rank}.npy", result.embedded.probabilities)
    with pytest.raises(Exception, match="holds a run already"):
        cluster(recipe, images, RunDirectory(folder / "run"))


def test_a_whole_run_on_two_processes(tmp_path: Path) -> None:
    together(_cluster_in_one_of_two, tmp_path)
    one, other = (np.load(tmp_path / f"clusters-{process}.npy") for process in range(WORLD))
    np.testing.assert_array_equal(one, other)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["training"]["steps"] == 4
    steps = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert len(steps) == 2  # the header, and the end of four steps: written once


def test_alone_nothing_happens() -> None:
    rows = torch.rand(3, 2)
    assert gather(rows) is rows
    assert (rank(), world_size(), agreed([1.0])) == (0, 1, [1.0])
    assert "TORCHELASTIC_RUN_ID" not in os.environ
