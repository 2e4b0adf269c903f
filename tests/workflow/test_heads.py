"""New heads on the features of a network that was trained from scratch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patterns import QUICK
from safetensors.torch import load_file

from likewise.assembly import build_network
from likewise.config import Recipe
from likewise.evaluation import accuracy
from likewise.recipe_book import make_recipe
from likewise.report import write_report
from likewise.runs import RunDirectory
from likewise.training.fit import Outcome
from likewise.training.machine import Machine
from likewise.workflow import assign, cluster, clustering
from likewise.workflow.heads import renew_head

GIVEN = {"method.num_clusters": 4, "training.precision": "fp32"}


@pytest.fixture(scope="module")
def renewed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = RunDirectory(tmp_path_factory.mktemp("heads") / "run")
    cluster(make_recipe(None, GIVEN | {"training.heads": 3}, QUICK), str(photos), run)
    return run


def test_the_head_is_a_new_one_and_the_backbone_the_trained_one(
    renewed: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    kept = RunDirectory(tmp_path / "kept")
    cluster(make_recipe(None, GIVEN | {"training.heads": 1}, QUICK), str(photos), kept)
    one, other = load_file(renewed.model_file), load_file(kept.model_file)
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name]) == (".backbone." in name), name


def test_the_report_says_that_its_curves_are_of_the_head_before(renewed: RunDirectory) -> None:
    assert renewed.metrics()["training"]["head_replaced"] is True
    assert "of a new one, trained on the finished features" in write_report(renewed).read_text(encoding="utf-8")


def test_its_clusters_are_those_of_the_run(renewed: RunDirectory, photos: Path) -> None:
    table = renewed.assignments()
    kinds = np.unique([name.split("/")[0] for name in table.names], return_inverse=True)[1]
    assert accuracy(table.clusters, kinds) >= 0.9
    again, _, _ = assign(renewed, str(photos))
    assert np.array_equal(again.clusters, table.clusters)


def test_the_same_seed_gives_the_same_head(renewed: RunDirectory) -> None:
    recipe, machine = Recipe.read(renewed.recipe_file), Machine("cpu", bf16=False, compile=False, reason="")
    features = renewed.features("backbone")
    found = []
    for seed in (0, 0, 1):
        recipe.training.seed = seed
        network = build_network(recipe)
        renew_head(network.method, recipe, features, machine)
        found.append(network.method.state_dict()["encoder.head.0.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_where_nothing_can_be_learned_the_head_stays(renewed: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, machine = Recipe.read(renewed.recipe_file), Machine("cpu", bf16=False, compile=False, reason="")
    network = build_network(recipe)
    before = {name: tensor.clone() for name, tensor in network.method.state_dict().items()}
    renew_head(network.method, recipe, np.full_like(renewed.features("backbone"), np.nan), machine)
    assert "no new head" in capsys.readouterr().err
    assert all(torch.equal(before[name], tensor) for name, tensor in network.method.state_dict().items())


def test_what_was_noticed_of_the_old_head_is_told_as_that(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = clustering._train

    def with_warning(*arguments: Any) -> Outcome:
        return replace(original(*arguments), warnings=["step 3: collapsed."])

    monkeypatch.setattr(clustering, "_train", with_warning)
    moments: list[int] = []
    recipe = make_recipe(None, GIVEN, [*QUICK, "training.steps=4", "training.heads=2"])
    done = cluster(recipe, str(photos), RunDirectory(tmp_path / "run"), observe=lambda seen: moments.append(seen.step))
    training = done.run.metrics()["training"]
    told, short = training["warnings"]
    assert told == "before the head was replaced, step 3: collapsed."
    assert short.startswith("4 steps are few")
    assert moments[-2:] == [4, 4]  # with the old head, and with the new one
