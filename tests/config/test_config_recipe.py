"""The recipe: TOML and back, and what is said of names and values that are wrong."""

import tomllib
from pathlib import Path

import pytest

from likewise.config import DataConfig, MethodChoice, ModelConfig, Recipe, TrainingConfig
from likewise.errors import InputError
from likewise.views import VIEWS, ViewConfig

FULL = Recipe(
    version="9.9",
    data=DataConfig(
        source='/pictures/"a" \\ é\n猫',
        image_size=96,
        channels=3,
        memory_gb=0.5,
        strict=True,
        digest="sha256:0",
        num_images=12,
    ),
    views=ViewConfig(crop_scale=(0.3, 0.9), flip=0, blur=0.5, hue=0.25),
    model=ModelConfig(backbone="resnet18", weights="pretrained", frozen=True, cached_views=4),
    method=MethodChoice(num_clusters=7, settings={"temperature": 0.1, "frame": "moco-v2", "swap_targets": False}),
    training=TrainingConfig(
        minutes=0.1,
        steps=3,
        batch_size=64,
        optimizer="adamw",
        learning_rate=1e-3,
        momentum=0,
        weight_decay=0,
        warmup_steps=0,
        seed=2**63 - 1,
        precision="bf16",
        compile=False,
    ),
)


@pytest.mark.parametrize("recipe", [Recipe(), FULL], ids=["defaults", "full"])
def test_toml_and_back(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    read = Recipe.read(tmp_path / "recipe.toml")
    assert read == recipe
    assert read.to_toml() == recipe.to_toml()


@pytest.mark.parametrize("name", VIEWS)
def test_named_views_to_toml_and_back(name: str) -> None:
    recipe = Recipe(views=VIEWS[name][0])
    assert Recipe.parse(tomllib.loads(recipe.to_toml())).views == VIEWS[name][0]


def test_what_is_not_set_is_left_out() -> None:
    tables = tomllib.loads(Recipe().to_toml())
    assert not {"epochs", "minutes", "steps", "compile"} & tables["training"].keys()
    assert "frozen" not in tables["model"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"trainig": {}}, "unknown setting in the recipe 'trainig'. Did you mean 'training' or"),
        ({"learning_rate": 1}, "unknown setting in the recipe 'learning_rate': it is called training.learning_rate."),
        ({"training": {"sead": 1}}, "'training.sead'. Did you mean 'training.seed'"),
        ({"training": {"learningrate": 1}}, "Did you mean 'training.learning_rate'"),
        ({"data": {"imagesize": 1}}, "Did you mean 'data.image_size'"),
        ({"views": {"blurr": 1}}, "'views.blurr'. Did you mean 'views.blur'"),
        ({"model": {"qqqq": 1}}, "Known: model.backbone, model.cached_views, model.frozen, model.small_stem"),
    ],
)
def test_unknown_names(values: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.parse(values)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"training": {"seed": -1}}, "the recipe: training.seed = -1 is not allowed: "),
        ({"training": {"seed": 2**63}}, "training.seed = 9223372036854775808 is not allowed"),
        ({"training": {"seed": "abc"}}, "training.seed = 'abc' is not allowed: input should be a valid integer"),
        ({"training": {"epochs": 0}}, "input should be greater than 0"),
        ({"training": {"epochs": 1, "minutes": 1}}, "give one of them"),
        ({"training": {"minutes": float("inf")}}, "input should be a finite number"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate = nan is not allowed"),
        ({"training": {"momentum": 1}}, "input should be less than 1"),
        ({"training": {"optimizer": "adam"}}, "input should be 'sgd', 'adamw' or 'lars'"),
        ({"training": {"precision": "fp16"}}, "input should be 'auto', 'bf16' or 'fp32'"),
        ({"training": 5}, "training = 5 is not allowed"),
        ({"data": {"channels": 2}}, "input should be 0, 1 or 3"),
        ({"data": {"image_size": 4096}}, "input should be less than or equal to 2048"),
        ({"data": {"memory_gb": float("inf")}}, "input should be a finite number"),
        ({"model": {"cached_views": -1}}, "input should be greater than or equal to 0"),
        ({"views": {"crop_scale": [0.1]}}, "views.crop_scale.1"),
        ({"views": {"flip": 2}}, "views.flip = 2 is not allowed"),
        ({"method": {"settings": 3}}, "method.settings = 3 is not allowed"),
    ],
)
def test_wrong_values(values: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.parse(values)
    assert expected in str(caught.value)


def test_values_are_checked_on_assignment() -> None:
    recipe = Recipe()
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        recipe.training.batch_size = -1
    with pytest.raises(ValueError, match="sead"):
        recipe.training.sead = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", [b"[training", b"a = 1\na = 2", b"\xff\xfe\x00", b'a = "'])
def test_files_that_are_no_toml(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"the recipe .*r\.toml cannot be read: "):
        Recipe.read(tmp_path / "r.toml")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(InputError, match="cannot be read"):
            Recipe.read(path)


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[training]\nsead = 1")
    with pytest.raises(InputError, match=f"unknown setting in {path} 'training.sead'"):
        Recipe.read(path)
    path.write_text("[training]\nseed = 1.5")
    with pytest.raises(InputError, match=f"{path}: training.seed = 1.5 is not allowed"):
        Recipe.read(path)


@pytest.mark.parametrize(
    "views",
    [
        {"crop_scale": [-1, 1]},
        {"crop_scale": [0.8, 0.2]},
        {"crop_scale": [0.2, 3]},
        {"crop_ratio": [0, 1]},
        {"blur_sigma": [-1, 2]},
    ],
)
def test_ranges_of_views_that_cannot_be_are_refused(views: dict[str, list[float]]) -> None:
    with pytest.raises(InputError, match=next(iter(views))):
        Recipe.parse({"views": views})


@pytest.mark.parametrize("content", ["a = " + "9" * 5000, "a = " + "[" * 20_000])
def test_a_recipe_that_breaks_the_reader_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(content)
    with pytest.raises(InputError, match="cannot be read"):
        Recipe.read(tmp_path / "recipe.toml")
