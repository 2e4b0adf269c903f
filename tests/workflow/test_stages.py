"""Runs that go on from runs: a stage, other settings, offline, resumed, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
from patterns import QUICK
from safetensors.torch import load_file

from likewise.assembly import build_network, start_from
from likewise.config import Recipe
from likewise.errors import InputError
from likewise.evaluation import accuracy
from likewise.methods import CDC
from likewise.recipe_book import make_recipe
from likewise.runs import RunDirectory
from likewise.scoring import evaluate
from likewise.training import fit
from likewise.training.fit import Interrupted
from likewise.views import VIEWS
from likewise.workflow import assign, cluster
from likewise.workflow.clustering import _heads_go_on

STAGE = {"stage.name": "self-label", "training.steps": 12, "training.batch_size": 60}
THRESHOLD = "stage.settings.threshold=0.9"


@pytest.fixture(scope="module")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = RunDirectory(tmp_path_factory.mktemp("start") / "run")
    cluster(make_recipe(None, {"method.num_clusters": 4}, QUICK), str(photos), run)
    return run


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_SHARE", float("inf"))


def go_on(start: RunDirectory, run: Path, given: dict[str, Any] | None = None, *settings: str) -> RunDirectory:
    recipe = make_recipe(None, STAGE if given is None else given, [THRESHOLD, *settings], start.path)
    return cluster(recipe, recipe.data.source, RunDirectory(run)).run


def weights(run: RunDirectory) -> bytes:
    return run.model_file.read_bytes()


def test_a_stage_leaves_a_run_like_any_other(start: RunDirectory, photos: Path, tmp_path: Path) -> None:
    run = go_on(start, tmp_path / "run")
    recipe = Recipe.read(run.recipe_file)
    assert recipe.views == VIEWS["strong"][0]
    assert (recipe.training.optimizer, recipe.training.learning_rate) == ("adamw", 1e-4)
    assert load_file(run.model_file).keys() == load_file(start.model_file).keys()
    assert weights(run) != weights(start)
    before, after = start.assignments(), run.assignments()
    assert accuracy(after.clusters, before.clusters) >= 0.9
    kinds = np.unique([name.split("/")[0] for name in after.names], return_inverse=True)[1]
    assert accuracy(after.clusters, kinds) >= 0.9
    assert evaluate(run, "folders")["rows"][0]["name"] == "CDC + self-label"
    again, _, _ = assign(run, str(photos))
    assert np.array_equal(again.clusters, after.clusters)
    assert go_on(run, tmp_path / "third").is_complete  # and can be gone on from itself


def test_interrupted_and_resumed_it_is_the_same(start: RunDirectory, tmp_path: Path) -> None:
    moved = RunDirectory(shutil.copytree(start.path, tmp_path / "moved"))
    whole = go_on(start, tmp_path / "whole")

    class PressesKeys(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object, **__: object) -> None:
            if trainer.global_step == 6:
                raise KeyboardInterrupt

    original = fit._trainer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_trainer", lambda m, f, callbacks: original(m, f, [*callbacks, PressesKeys()]))
        with pytest.raises(Interrupted):
            go_on(moved, tmp_path / "half")
    half, elsewhere = RunDirectory(tmp_path / "half"), tmp_path / "elsewhere"
    moved.path.rename(elsewhere)
    recipe = Recipe.read(half.recipe_file)
    with pytest.raises(InputError, match=r"starts from the run in .*moved, which is not there.*recipe\.toml, as model"):
        cluster(recipe, recipe.data.source, half, resume=True)
    recipe.model.start = str(elsewhere)
    cluster(recipe, recipe.data.source, half, resume=True)
    assert weights(half) == weights(whole)


def test_what_the_stage_refuses_leaves_nothing_behind(start: RunDirectory, tmp_path: Path) -> None:
    for settings, message in (
        (["stage.settings.threshold=0.999999"], "can ever have a confidence above"),
        (["stage.settings.treshold=0.9"], "Did you mean 'threshold'"),
        (["stage.settings.threshold=2"], "threshold = 2"),
        (["model.backbone=resnet18"], "start from a run with the same backbone"),
        (["method.num_clusters=5"], "must stay those of that run"),
    ):
        with pytest.raises(InputError, match=message):
            go_on(start, tmp_path / "run", None, *settings)
        assert not (tmp_path / "run").exists()


def test_a_frozen_backbone_comes_from_the_run_and_no_weights_are_looked_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"method.num_clusters": 4, "model.frozen": True, "model.weights": "none", "data.image_size": 20}
    short = {"training.steps": 40, "training.batch_size": 60, "model.cached_views": 2}
    first = RunDirectory(tmp_path / "first")
    cluster(make_recipe(None, given | short | {"model.backbone": "resnet18"}, []), str(photos), first)
    text = first.recipe_file.read_text()
    for weights_of_old in ("pretrained", str(tmp_path / "gone.pth")):
        first.recipe_file.write_text(text.replace('weights = "none"', f'weights = "{weights_of_old}"'))

        def no_download(*_: object, pretrained: bool = False, **__: object) -> None:
            raise AssertionError("weights were looked for")

        with monkeypatch.context() as patch:
            patch.setattr("timm.models._builder.load_pretrained", no_download)
            run = go_on(
                first, tmp_path / Path(weights_of_old).stem, None, "stage.settings.threshold=0.3",
                "stage.settings.allow_fewer_clusters=true",
            )  # fmt: skip
        before, after = load_file(first.model_file), load_file(run.model_file)
        frozen = [name for name in before if name.startswith("frozen.")]
        assert frozen
        assert all(np.array_equal(before[name], after[name]) for name in frozen)
        assert any(not np.array_equal(before[name], after[name]) for name in before.keys() - set(frozen))


def test_a_head_on_the_backbone_of_a_run_and_the_whole_network_again(start: RunDirectory, tmp_path: Path) -> None:
    def go_on_as(name: str, begin: RunDirectory, frozen: bool) -> dict[str, np.ndarray]:
        short = {"training.steps": 3, "training.batch_size": 60, "model.cached_views": 2}
        recipe = make_recipe(None, {"model.frozen": frozen, **short}, [], begin.path)
        return load_file(cluster(recipe, recipe.data.source, RunDirectory(tmp_path / name)).run.model_file)

    before, head = load_file(start.model_file), go_on_as("head", start, True)
    frozen = [name for name in head if name.startswith("frozen.")]
    assert frozen
    for name in frozen:
        assert np.array_equal(head[name], before[name.replace("frozen.", "method.encoder.backbone.")])
    whole = go_on_as("whole", RunDirectory(tmp_path / "head"), False)
    assert whole.keys() == before.keys()
    assert any(not np.array_equal(whole[name], before[name]) for name in whole if "encoder.backbone." in name)


def test_several_heads_start_afresh(start: RunDirectory) -> None:
    recipe = Recipe.read(start.recipe_file)
    recipe.training.seed += 1
    network = build_network(recipe)
    own, given = network.inference_state(), load_file(start.model_file)
    own = {name: tensor.clone() for name, tensor in own.items()}
    start_from(network, start.model_file, heads=False)
    for name, tensor in network.inference_state().items():
        expected = given[name] if ".backbone." in name else own[name].numpy()
        assert np.array_equal(tensor.numpy(), expected), name


@pytest.mark.parametrize(
    "given",
    [{"method.num_clusters": 5}, {"method.settings.instance_dim": 7}, {"method.settings.hidden_dim": 7}],
    ids=str,
)
def test_half_of_a_head_is_none(given: dict[str, object], start: RunDirectory) -> None:
    recipe = make_recipe(None, given, [], start.path)
    recipe.data, recipe.model.frozen, recipe.training.seed = Recipe.read(start.recipe_file).data, False, 1
    network = build_network(recipe)
    own, before = (
        {name: tensor.clone() for name, tensor in network.inference_state().items()},
        load_file(start.model_file),
    )
    start_from(network, start.model_file)
    for name, tensor in network.inference_state().items():
        expected = before[name] if ".backbone." in name else own[name].numpy()
        assert np.array_equal(tensor.numpy(), expected), name


@pytest.mark.parametrize("before", ["cdc", "simclr", "moco-v2", "scan", "center"])
@pytest.mark.parametrize("after", ["cdc", "simclr", "moco-v2", "scan", "center"])
def test_another_method_takes_the_backbone_and_nothing_else(
    before: str, after: str, start: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Recipe, "read", lambda path: make_recipe(None, {"method.name": before}, []))
    goes_on = _heads_go_on(make_recipe(None, {"method.name": after}, []), start)
    assert goes_on == (before == after)
    if before != after:
        with pytest.raises(InputError, match=f"leave out --method {after}"):
            _heads_go_on(make_recipe(None, {"method.name": after, "stage.name": "self-label"}, []), start)
    assert (f"the head of {after} starts anew" in capsys.readouterr().err) == (before != after)


def test_a_method_goes_on_with_other_settings(start: RunDirectory, tmp_path: Path) -> None:
    given = {"training.steps": 2, "training.neighbors": 5, "training.batch_size": 60}
    recipe = make_recipe(None, given, ["method.settings.temperature=0.3"], start.path)
    run = cluster(recipe, recipe.data.source, RunDirectory(tmp_path / "run")).run
    trained, own = Recipe.read(run.recipe_file), Recipe.read(start.recipe_file)
    assert (trained.training.neighbors, trained.method.settings["temperature"]) == (5, 0.3)
    assert (trained.views, trained.data) == (own.views, own.data)
    assert trained.method.settings["hidden_dim"] == own.method.settings["hidden_dim"] == 64
    assert run.metrics()["method"] == "CDC"


class TestRecipe:
    """What a recipe takes over from the run that it starts from."""

    def test_what_followed_from_the_length_does_not_carry_over(self, start: RunDirectory) -> None:
        recipe = make_recipe(None, {}, [], start.path)
        training = recipe.training
        assert (training.steps, training.minutes, training.epochs, training.hold_steps) == (None, None, None, 0)
        assert (training.batch_size, training.compile, training.precision) == (0, None, "auto")
        assert recipe.model.start == str(start.path.absolute())
        assert recipe.stage.name == ""

    def test_a_stage_trains_in_its_own_way_with_the_seed_of_the_run(self, start: RunDirectory, tmp_path: Path) -> None:
        old = RunDirectory(shutil.copytree(start.path, tmp_path / "old"))
        text = old.recipe_file.read_text().replace("seed = 0", "seed = 7")
        old.recipe_file.write_text(text.replace("learning_rate = 0.2", "learning_rate = 0.05"))
        further, stage = (make_recipe(None, given, [], old.path) for given in ({}, {"stage.name": "self-label"}))
        assert further.training.learning_rate == 0.05
        assert "learning_rate" not in stage.training.model_fields_set
        assert stage.views.model_fields_set == {"size"}
        assert further.training.seed == stage.training.seed == 7
        asked = make_recipe(None, {"stage.name": "self-label", "views": "gentle"}, ["training.seed=3"], old.path)
        assert (asked.views, asked.training.seed) == (VIEWS["gentle"][0], 3)

    def test_after_a_stage_the_method_trains_in_its_own_way_again(self, start: RunDirectory, tmp_path: Path) -> None:
        old = RunDirectory(shutil.copytree(start.path, tmp_path / "old"))
        recipe = Recipe.read(old.recipe_file)
        recipe.stage.name, recipe.training.optimizer, recipe.training.learning_rate = "self-label", "adamw", 1e-4
        recipe.views = VIEWS["strong"][0].model_copy(update={"size": 16})
        old.recipe_file.write_text(recipe.to_toml())
        for given in ({}, {"method.name": "scan"}, {"model.frozen": True}):
            made = make_recipe(None, given, [], old.path)
            assert not {"optimizer", "learning_rate", "neighbors"} & made.training.model_fields_set
            assert (made.views.model_fields_set, made.views.size) == ({"size"}, 16)

    def test_another_method_brings_settings_of_its_own(self, start: RunDirectory, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text('[method]\nname = "other"\nsettings = {width = 3}\n[training]\nepochs = 2\n')
        recipe = make_recipe(str(file), {}, [], start.path)
        assert (recipe.method.name, recipe.method.num_clusters) == ("other", 4)
        assert recipe.method.settings == {"width": 3}
        assert recipe.training.epochs == 2
        assert recipe.data.source == Recipe.read(start.recipe_file).data.source
        file.write_text('[method]\nname = "cdc"\nsettings = {temperature = 0.5}\n')
        assert make_recipe(str(file), {}, [], start.path).method.settings["hidden_dim"] == 64

    def test_neighbours_are_up_to_the_method(self, start: RunDirectory) -> None:
        assert make_recipe(None, {}, [], start.path).training.neighbors == 0
        assert make_recipe(None, {"method.name": "scan"}, [], start.path).training.neighbors is None

    def test_a_backbone_that_is_frozen_from_now_on_wants_other_views(self, start: RunDirectory, tmp_path: Path) -> None:
        head = make_recipe(None, {"model.frozen": True}, [], start.path)
        assert head.views.model_fields_set == {"size"}
        assert head.training.neighbors is None
        old = RunDirectory(shutil.copytree(start.path, tmp_path / "old"))
        text = old.recipe_file.read_text().replace("frozen = false", "frozen = true")
        old.recipe_file.write_text(text.replace("neighbors = 0", "neighbors = 7"))
        assert make_recipe(None, {"model.frozen": False}, [], old.path).training.neighbors == 7
        assert make_recipe(None, {"model.frozen": True}, [], old.path).views == Recipe.read(old.recipe_file).views
        # 7 of a fair cluster of 60 images are not 7 of one of 6
        assert make_recipe(None, {"method.num_clusters": 40}, [], old.path).training.neighbors is None

    def test_what_followed_from_the_number_of_clusters_does_not_carry_over(
        self, start: RunDirectory, tmp_path: Path
    ) -> None:
        old = RunDirectory(shutil.copytree(start.path, tmp_path / "old"))
        recipe = Recipe.read(old.recipe_file)
        suggested = CDC.suggest(recipe.method.num_clusters, False, {})
        recipe.method.settings = recipe.method.settings | suggested | {"epsilon": 0.3}
        old.recipe_file.write_text(recipe.to_toml())
        same = make_recipe(None, {}, [], old.path).method.settings
        assert same == recipe.method.settings
        fewer = make_recipe(None, {"method.num_clusters": 3}, [], old.path).method.settings
        assert "assignment_temperature" not in fewer
        assert fewer["epsilon"] == 0.3
        assert fewer["hidden_dim"] == 64

    @pytest.mark.parametrize(
        ("changes", "carried"),
        [
            # as they are chosen for 240 images in batches of 60
            ({"queue_size": 60, "norm_groups": 8}, {}),
            ({"queue_size": 65536, "norm_groups": 8}, {"queue_size": 65536}),
            ({"queue_size": 60, "norm_groups": 1}, {"norm_groups": 1}),
        ],
    )
    def test_a_queue_carries_over_where_it_was_set(
        self, changes: dict[str, int], carried: dict[str, int], start: RunDirectory, tmp_path: Path
    ) -> None:
        old = RunDirectory(shutil.copytree(start.path, tmp_path / "old"))
        recipe = Recipe.read(old.recipe_file)
        assert (recipe.data.num_images, recipe.training.batch_size) == (240, 60)
        recipe.training.heads = 1
        recipe.method.settings = recipe.method.settings | {"frame": "moco-v2"} | changes
        old.recipe_file.write_text(recipe.to_toml())
        for given in ({}, {"model.frozen": True}, {"stage.name": "self-label"}):
            made = make_recipe(None, given, [], old.path)
            found = {name: made.method.settings[name] for name in changes.keys() & made.method.settings.keys()}
            assert found == carried
            assert made.training.heads is None  # one is all that this frame has
        assert make_recipe(None, {"method.settings.queue_size": 9}, [], old.path).method.settings["queue_size"] == 9

    @pytest.mark.parametrize(("heads", "carried"), [(1, 1), (3, 3), (5, None)])
    def test_heads_carry_over_where_they_were_set(
        self, heads: int, carried: int | None, start: RunDirectory, tmp_path: Path
    ) -> None:
        old = RunDirectory(shutil.copytree(start.path, tmp_path / "old"))
        recipe = Recipe.read(old.recipe_file)
        recipe.training.heads = heads
        old.recipe_file.write_text(recipe.to_toml())
        assert make_recipe(None, {}, [], old.path).training.heads == carried
        assert make_recipe(None, {"training.heads": 2}, [], old.path).training.heads == 2
        for given in ({"model.frozen": True}, {"method.name": "scan"}, {"stage.name": "self-label"}):
            assert make_recipe(None, given, [], old.path).training.heads is None

    def test_a_run_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no run in"):
            make_recipe(None, {}, [], tmp_path / "nowhere")
