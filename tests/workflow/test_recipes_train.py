"""Every recipe that comes along trains: two steps on a tiny stand-in for its images, with a narrow head."""

from pathlib import Path

import numpy as np
import pytest

from likewise.config import Recipe
from likewise.recipe_book import make_recipe, recipe_files
from likewise.runs import RunDirectory
from likewise.training.plan import Plan
from likewise.workflow import cluster

SMALL = {
    "data.image_size": 32,
    "model.weights": "none",
    "model.cached_views": 2,
    "method.num_clusters": 3,
    "training.steps": 2,
    "training.batch_size": 8,
}
# what each recipe must say of the method to be the paper's: rate at the peak, batch, epochs, queue
PAPER = {
    "cdc-cifar10": (0.06, 512, 1200),
    "cdc-cifar100-20": (0.06, 512, 1200),
    "cdc-stl10": (0.06, 512, 1200),
    "cdc-imagenet100": (0.03, 256, 400),
    "cdc-imagenet200": (0.03, 256, 400),
    "cdc-imagenet1k": (0.3 * 16, 4096, 200),
    "center-cifar10": (3e-4, 128, 2000),
    "center-imagenet10": (3e-4, 128, 2000),
    "center-imagenet-dogs": (3e-4, 128, 2000),
    "center-tiny-imagenet": (3e-4, 128, 2000),
}


# they differ from another recipe in their images alone: the fast tests train that one
TWINS = ("cdc-cifar100-20", "cdc-imagenet200", "center-imagenet10", "center-imagenet-dogs", "center-tiny-imagenet")
SLOW = [pytest.mark.slow]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stand-in") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    return str(path)


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW * (name in TWINS)) for name in recipe_files()])
def test_every_recipe_trains(name: str, images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    settings = ["method.settings.hidden_dim=16"]
    recipe = make_recipe(name, {}, [])
    if recipe.method.settings.get("frame") == "moco-v2":
        settings += ["method.settings.queue_size=16", "method.settings.norm_groups=2"]
    run, start = RunDirectory(tmp_path / "run"), None
    if recipe.stage.name or name.endswith("-neighbors"):
        start = RunDirectory(tmp_path / "start")
        cluster(make_recipe(None, SMALL, settings), images, start)
        settings = ["stage.settings.threshold=0.01", "stage.settings.allow_fewer_clusters=true"]
        settings *= bool(recipe.stage.name)
    cluster(make_recipe(name, SMALL, settings, start and start.path), images, run)
    assert run.is_complete
    # but for what was made small, it is the recipe
    asked, trained = make_recipe(name, {}, []), Recipe.read(run.recipe_file)
    assert trained.method.settings.items() >= asked.method.settings.items() - {
        ("hidden_dim", asked.method.settings.get("hidden_dim")),
        ("queue_size", asked.method.settings.get("queue_size")),
        ("norm_groups", asked.method.settings.get("norm_groups")),
    }
    assert trained.views.model_dump().items() >= asked.views.model_dump(include=asked.views.model_fields_set).items()
    assert trained.model.backbone == asked.model.backbone or asked.model.backbone == "auto"


@pytest.mark.parametrize("name", PAPER)
def test_the_rates_are_the_papers(name: str) -> None:
    training = make_recipe(name, {}, []).training
    plan = Plan.of(training)
    assert (pytest.approx(plan.peak), training.batch_size, training.epochs) == PAPER[name]


def test_every_recipe_says_how_it_is_run_and_what_it_takes() -> None:
    for name, file in recipe_files().items():
        header = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert any(line.startswith(f"# likewise train {name} ") for line in header), name
        if name != "fashion-mnist-demo":
            assert "ot measured yet" in "".join(header), name
