"""What can be compared: names, shares and settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likewise.assembly import method_config
from likewise.benchmark.entries import ABLATIONS, ENTRIES, ablations_named, entries_named, entry_named
from likewise.benchmark.job import Job, resolved, stage_recipe
from likewise.benchmark.setup import Setup, pinned
from likewise.config import Recipe
from likewise.data import open_source
from likewise.defaults import with_model
from likewise.errors import InputError
from likewise.recipe_book import make_recipe

EVERY_ABLATION = [(method, entry) for method, entries in ABLATIONS.items() for entry in entries.values()]
EVERY = [*ENTRIES.values(), *(entry for _, entry in EVERY_ABLATION)]


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_every_entry_makes_recipes_within_the_budget(entry):
    assert entry.about
    for stages in filter(None, (entry.stages, entry.frozen)):
        assert sum(stage.share for stage in stages) == pytest.approx(1)
    for stage in (*entry.stages, *entry.frozen):
        method_config(make_recipe(None, {}, list(stage.settings)))


@pytest.mark.parametrize("name", ["cdc", "simclr", "moco-v2", "scan"])
def test_self_labelling_goes_on_with_the_same_method(name):
    plain, longer = entry_named(name), entry_named(f"{name}+self-label")
    assert longer.name == f"{name}+self-label"
    assert sum(stage.share for stage in longer.stages) == pytest.approx(1)
    assert [stage.settings for stage in longer.stages[:-1]] == [stage.settings for stage in plain.stages]
    last = make_recipe(None, {}, list(longer.stages[-1].settings))
    before = make_recipe(None, {}, list(plain.stages[-1].settings))
    assert (last.stage.name, last.method) == ("self-label", before.method)
    assert longer.stages[-1].share == 0.2


def test_what_is_not_there():
    with pytest.raises(InputError, match="Did you mean 'simclr'"):
        entry_named("simclt")
    for name in ("kmeans-pixels", "supervised"):
        with pytest.raises(InputError, match=f"{name} leaves nothing"):
            entry_named(f"{name}+self-label")
    with pytest.raises(InputError, match="which methods"):
        entries_named(" , ")
    with pytest.raises(InputError, match="Did you mean 'full'"):
        ablations_named("cdc", "ful")
    with pytest.raises(InputError, match="method with ablations"):
        ablations_named("simclr", None)


def test_a_list_names_each_once():
    assert [entry.name for entry in entries_named("cdc, scan,cdc")] == ["cdc", "scan"]
    assert [entry.name for entry in ablations_named("cdc", "no-infonce,full")] == ["no-infonce", "full"]
    assert len(ablations_named("center", None)) == len(ABLATIONS["center"])


def test_on_a_frozen_backbone_nothing_is_spent_on_features():
    for name in ("scan", "center", "scan+self-label"):
        entry = entry_named(name)
        assert entry.on(frozen=False) == entry
        methods = {make_recipe(None, {}, list(stage.settings)).method.name for stage in entry.on(frozen=True).stages}
        assert methods == {name.partition("+")[0]}
    assert entry_named("cdc").on(frozen=True) == entry_named("cdc")
    full = ABLATIONS["cdc"]["full"].on(frozen=True)
    assert (full.published, full.published_linear, full.probed) == ("", "", False)


def test_from_scratch_an_ablation_is_of_the_head_that_was_trained():
    for entry in ABLATIONS["cdc"].values():
        if entry.only != "frozen":
            (stage,) = entry.on(frozen=False).stages
            heads = make_recipe(None, {}, list(stage.settings)).training.heads
            assert heads == (5 if entry.name == "new-heads" else 1)
    assert not any("heads" in setting for setting in ABLATIONS["cdc"]["full"].on(frozen=True).stages[0].settings)


def recipes(setup: Setup, names: str, folder: Path) -> dict[str, Recipe]:
    """The recipe of every training of the rows, by row and number of the stage."""
    return {
        f"{entry.name} {number}": stage_recipe(Job(setup, entry, 0, folder), stage, folder if number else None)
        for entry in entries_named(names)
        for number, stage in enumerate(entry.stages)
    }


def test_rows_start_from_a_recipe(tmp_path):
    setup = Setup("cifar10:train", "source", 10, epochs=1200, recipe="cdc-cifar10")
    found = recipes(setup, "cdc,cdc+self-label,scan,simclr,supervised", tmp_path)
    paper = make_recipe("cdc-cifar10", {}, [])
    assert found["cdc 0"] == paper
    assert found["simclr 0"].method.settings == found["supervised 0"].method.settings == {}
    lengths = {name: recipe.training.epochs for name, recipe in found.items()}
    whole = dict.fromkeys(("cdc 0", "simclr 0", "supervised 0"), 1200)
    parts = {"cdc+self-label 0": 960, "cdc+self-label 1": 240, "scan 0": 840, "scan 1": 360}
    assert lengths == pytest.approx(whole | parts)
    for name, recipe in found.items():
        assert (recipe.model.backbone, recipe.training.batch_size) == ("resnet18", 512)
        own = name in ("scan 1", "cdc+self-label 1")
        assert recipe.training.optimizer == ("adamw" if own else "sgd")
        assert recipe.training.learning_rate == paper.training.learning_rate or own
        assert recipe.views.model_fields_set == (set() if name == "cdc+self-label 1" else {"blur", "crop_scale"})


def test_heads_on_the_features_of_another_method_are_beside_the_budget(tmp_path):
    setup = Setup("cifar10:train", "source", 10, minutes=30, recipe="cdc-cifar10")
    found = recipes(setup, "simclr-heads,scan-heads,cdc-one-head", tmp_path)
    assert found["simclr-heads 0"].training.minutes == found["cdc-one-head 0"].training.minutes == 30
    assert found["cdc-one-head 0"].training.heads == 1
    heads = found["simclr-heads 1"]
    assert (heads.training.minutes, heads.training.epochs, heads.training.steps) == (None, None, None)
    own = tmp_path / "own.toml"
    own.write_text("[training]\nsteps = 20000\nhold_steps = 3000\n")  # as a run has it after a budget in minutes
    other = replace(setup, minutes=None, steps=20000, recipe=str(own))
    assert recipes(other, "simclr-heads", tmp_path)["simclr-heads 1"].training.hold_steps == 0
    assert (heads.method.name, heads.model.frozen, heads.training.batch_size) == ("cdc", True, 512)
    assert (found["scan-heads 1"].method.name, found["scan-heads 1"].training.learning_rate) == ("scan", 1e-2)


def test_heads_on_a_network_that_was_fine_tuned_see_what_it_saw(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((64, 16, 16), np.uint8))
    for weights, size in (("pretrained", 224), ("none", 16)):
        given = {"model.weights": weights, "model.frozen": False}
        setup = Setup(str(tmp_path / "images.npy"), "source", 4, steps=4, given=given)
        (entry,) = entries_named("simclr-heads")
        base, heads = resolved(Job(setup, entry, 0, tmp_path), open_source(setup.data))
        assert (base.model.frozen, heads.model.frozen) == (False, True)
        for recipe in (base, heads):
            assert recipe.data.image_size == size
            assert recipe.model.model_dump(include={"weights", "backbone", "small_stem"}) == base.model.model_dump(
                include={"weights", "backbone", "small_stem"}
            )


def test_neighbours_are_for_the_last_part_of_the_budget(tmp_path):
    setup = Setup("cifar10:train", "source", 10, minutes=100, recipe="cifar10-cpu")
    found = recipes(setup, "cdc-neighbors", tmp_path)
    base, further = found["cdc-neighbors 0"].training, found["cdc-neighbors 1"].training
    assert (base.minutes, further.minutes) == (pytest.approx(70), pytest.approx(30))
    assert (base.neighbors, further.neighbors) == (None, 20)
    assert (base.learning_rate, further.learning_rate) == (0.2, 0.1)
    assert found["cdc-neighbors 1"].views.size == 24


def test_what_a_recipe_says_of_its_method_is_not_for_others(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        "[method]\nname = 'scan'\nsettings = {entropy_weight = 3}\n[training]\nneighbors = 7\nheads = 2\nsteps = 10\n"
    )
    setup = Setup("photos", "folders", 10, steps=10, recipe=str(path))
    found = recipes(setup, "scan,cdc,scan+self-label", tmp_path)
    settings = {name: recipe.method.settings for name, recipe in found.items()}
    own = {"entropy_weight": 3}
    assert settings == {"scan 0": {}, "scan 1": own, "cdc 0": {}, "scan+self-label 0": {}, "scan+self-label 1": own,
                        "scan+self-label 2": own}  # fmt: skip
    has = {name: (recipe.training.neighbors, recipe.training.heads) for name, recipe in found.items()}
    assert has["scan 1"] == (7, 2)
    assert has["cdc 0"] == has["scan 0"] == (None, None)
    assert has["scan+self-label 2"] == (0, 1)
    assert [recipe.training.steps for recipe in found.values()] == [7, 3, 10, 6, 2, 2]
    for name, text in (("cdc-self-label", ""), (str(path), "[model]\nstart = 'run'\n")):
        path.write_text(text)
        with pytest.raises(InputError, match="goes on from a finished run"):
            recipes(Setup("photos", "folders", 10, recipe=name), "cdc", tmp_path)
    with pytest.raises(InputError, match="Did you mean 'cdc-cifar10'"):
        recipes(Setup("photos", "folders", 10, recipe="cdc-cifar"), "cdc", tmp_path)


@pytest.mark.parametrize(("method", "entry"), EVERY_ABLATION, ids=lambda value: getattr(value, "name", value))
def test_a_row_differs_in_what_it_names_alone(method, entry, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((64, 16, 16), np.uint8))
    common = ("method.settings.temperature=0.4",)
    setup = pinned(Setup(str(tmp_path / "images.npy"), "source", 10, settings=common), method)

    def settings(entry):
        recipe = stage_recipe(Job(setup, entry, 0, tmp_path), entry.stages[-1], None)
        return with_model(recipe, open_source(setup.data)).method.settings

    full, changed = settings(ABLATIONS[method]["full"]), settings(entry)
    named = {setting.partition("=")[0] for setting in entry.stages[-1].settings[1:]}
    named = {name.removeprefix("method.settings.") for name in named if not name.startswith("training.")}
    assert full["temperature"] == 0.4
    assert {name for name in full | changed if full.get(name) != changed.get(name)} == named
