"""Recipes by name, and which of several changes wins."""

from pathlib import Path
from typing import Any

import pytest

from likewise.assembly import method_config
from likewise.config import Recipe
from likewise.errors import InputError
from likewise.recipe_book import describe_recipe, make_recipe, recipe_files

RECIPES = recipe_files()


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(
        "# Mine, all mine\n"
        "[method]\nnum_clusters = 3\nsettings = {temperature = 0.5, hidden_dim = 8}\n"
        "[training]\nminutes = 4\nseed = 1\nlearning_rate = 0.5\n"
        "[views]\nblur = 0.5\n"
    )
    return str(path)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_comes_along_is_right(name: str) -> None:
    recipe = make_recipe(name, {}, [])
    method_config(recipe)
    about = describe_recipe(RECIPES[name])
    assert about
    assert not about.startswith(("#", "["))
    assert Recipe.read(RECIPES[name]) == recipe


def test_the_recipe_of_the_demo_comes_along() -> None:
    assert make_recipe("fashion-mnist-demo", {}, []).method.num_clusters == 10


def test_nothing_given_is_the_defaults() -> None:
    recipe = make_recipe(None, {}, [])
    assert recipe == Recipe()
    assert not recipe.model_fields_set


def test_description(file: str) -> None:
    assert describe_recipe(Path(file)) == "Mine, all mine"


def test_what_comes_later_wins(file: str) -> None:
    assert make_recipe(file, {}, []).training.seed == 1
    assert make_recipe(file, {"training.seed": 2}, []).training.seed == 2
    assert make_recipe(file, {"training.seed": 2}, ["training.seed=3"]).training.seed == 3
    assert make_recipe(file, {"training.seed": 2}, ["training.seed=3", "training.seed=4"]).training.seed == 4


def test_what_is_not_changed_stays(file: str) -> None:
    recipe = make_recipe(file, {"training.seed": 2}, ["method.settings.temperature=0.25"])
    assert recipe.method.settings == {"temperature": 0.25, "hidden_dim": 8}
    assert recipe.training.learning_rate == 0.5
    assert recipe.views.blur == 0.5
    assert recipe.method.num_clusters == 3


def lengths(recipe: Recipe) -> dict[str, float]:
    values = {name: getattr(recipe.training, name) for name in ("epochs", "minutes", "steps")}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("given", "settings", "expected"),
    [
        ({}, [], {"minutes": 4}),
        ({"training.epochs": 2}, [], {"epochs": 2}),
        ({"training.steps": 9}, [], {"steps": 9}),
        ({"training.minutes": 9}, [], {"minutes": 9}),
        ({}, ["training.epochs=3"], {"epochs": 3}),
        ({"training.minutes": 9}, ["training.epochs=3"], {"epochs": 3}),
        ({"training.epochs": 9}, ["training.minutes=3"], {"minutes": 3}),
        ({"training.epochs": 9}, ["training.epochs=3"], {"epochs": 3}),
        ({"training.seed": 9}, ["training.batch_size=4"], {"minutes": 4}),
    ],
)
def test_a_length_takes_the_place_of_another(
    given: dict[str, Any], settings: list[str], expected: dict[str, float], file: str
) -> None:
    assert lengths(make_recipe(file, given, settings)) == expected


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data.source=photos", "photos"),
        ('data.source="a = b"', "a = b"),
        ("data.source=a=b", "a=b"),
        ("data.source=/a b/c", "/a b/c"),
        ("data.source=", ""),
    ],
)
def test_set_text(setting: str, value: str) -> None:
    assert make_recipe(None, {}, [setting]).data.source == value


def test_set_values_of_every_type() -> None:
    recipe = make_recipe(
        None,
        {},
        [
            "data.strict=true",
            "training.learning_rate=1e-3",
            "views.crop_scale=[0.5, 1.0]",
            "method.settings={queue_size = 8}",
            "method.settings.frame=moco-v2",
            "data.channels= 3",
        ],
    )
    assert recipe.data.strict is True
    assert recipe.training.learning_rate == 1e-3
    assert recipe.views.crop_scale == (0.5, 1.0)
    assert recipe.method.settings == {"queue_size": 8, "frame": "moco-v2"}
    assert recipe.data.channels == 3


@pytest.mark.parametrize("setting", ["", "training.seed", "=3", "="])
def test_set_without_name_and_value(setting: str) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe(None, {}, [setting])
    assert str(caught.value) == f"--set {setting}: give NAME=VALUE, such as training.seed=1."


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.sead=1", "Did you mean 'training.seed'"),
        ("seed=1", "unknown setting in the recipe 'seed'"),
        ("training.seed=x", "training.seed = 'x' is not allowed"),
        ("training.seed=", "training.seed = '' is not allowed"),
        ("training=5", "training = 5 is not allowed"),
        ("training..seed=1", "unknown setting in the recipe 'training.'"),
        ("method.name.cdc=1", "method.name.cdc: name is a value, not a section"),
        (".=1", "unknown setting"),
    ],
)
def test_set_of_what_is_not_there(setting: str, expected: str, file: str) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe(file, {"method.name": "cdc", "training.epochs": 1}, [setting])
    assert expected in str(caught.value)


@pytest.mark.parametrize("origin", ["fashion-mnist-demos", "fashion_mnist_demo"])
def test_unknown_recipe(origin: str) -> None:
    with pytest.raises(InputError, match=f"unknown recipe '{origin}'. Did you mean 'fashion-mnist-demo'"):
        make_recipe(origin, {}, [])


def test_recipe_file_with_an_error(file: str) -> None:
    Path(file).write_text("[training]\nsead = 1")
    with pytest.raises(InputError, match=f"unknown setting in {file} 'training.sead'"):
        make_recipe(file, {}, [])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["method.name=cdd"], "unknown method 'cdd'. Did you mean 'cdc'?"),
        (["method.settings.temprature=1"], "unknown setting of cdc 'temprature'. Did you mean 'temperature'"),
        (["method.settings.temperature=0"], "cdc setting temperature = 0: input should be greater than 0"),
        (
            ["method.settings.frame=simclr"],
            "cdc setting frame = 'simclr': input should be 'in-batch', 'moco-v2' or 'moco-v3'",
        ),
    ],
)
def test_settings_of_the_method(settings: list[str], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        method_config(make_recipe(None, {}, settings))
    assert expected in str(caught.value)


def test_a_set_of_views_leaves_their_size() -> None:
    assert make_recipe("cifar10-cpu", {}, []).views.size == 24
    recipe = make_recipe("cifar10-cpu", {"views": "simclr-blur"}, [])
    assert (recipe.views.size, recipe.views.blur) == (24, 0.5)
    assert make_recipe(None, {"views": "gentle"}, []).views.size == 0


def test_another_method_has_settings_of_its_own():
    paper = make_recipe("cdc-stl10", {}, [])
    simclr = make_recipe("cdc-stl10", {"method.name": "simclr"}, ["method.settings.temperature=0.3"])
    assert paper.method.settings.keys() > {"assignment_temperature"}
    assert simclr.method.settings == {"temperature": 0.3}
    assert simclr.training.learning_rate == paper.training.learning_rate
    assert make_recipe("cdc-stl10", {"method.name": "cdc"}, []).method.settings == paper.method.settings


def test_neighbours_and_heads_stay_with_the_method(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[method]\nname = 'scan'\n[training]\nneighbors = 7\nheads = 2\nsteps = 10\n")
    training = make_recipe(str(path), {}, ["method.name=cdc"]).training
    assert (training.neighbors, training.heads, training.steps) == (None, None, 10)
    assert make_recipe("cifar10-cpu-neighbors", {"method.name": "scan"}, []).training.neighbors == 20, "it names none"
