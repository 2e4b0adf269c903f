"""Every recipe that comes along trains: two steps on a tiny stand-in for its images, with a narrow head."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise.assembly import method_config
from likewise.config import Recipe
from likewise.data import open_source
from likewise.defaults import with_model
from likewise.recipe_book import make_recipe, recipe_files
from likewise.runs import RunDirectory
from likewise.training.plan import Plan
from likewise.workflow import cluster

SMALL = {
    "data.image_size": 32,
    "model.weights": "none",
    "method.num_clusters": 3,
    "training.steps": 2,
    "training.batch_size": 8,
}
# what the recipes must say to be the paper's (rates as they are at the peak), and what was inferred for the rest
DETERMINED = {
    "assignment_temperature": 0.1,
    "epsilon": 0.05,
    "sinkhorn_iterations": 3,
    "cluster_weight": 1.0,
    "contrastive_weight": 1.0,
    "swap_targets": True,
    "equipartition": True,
    "unit_logits": True,
    "momentum_schedule": "constant",
}
SIMCLR = {
    "size": 0,
    "crop_scale": (0.2, 1.0),
    "flip": 0.5,
    "jitter": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grey": 0.2,
    "blur": 0.0,
    "operations": 0,
    "cutout": 0.0,
}
SCRATCH = {
    "data": {"source": "cifar10:train", "image_size": 32},
    "views": SIMCLR,
    "model": {"backbone": "resnet18", "weights": "none", "frozen": False, "small_stem": True, "start": ""},
    "method": {"name": "cdc", "num_clusters": 10},
    "settings": DETERMINED
    | {"frame": "moco-v2", "instance_dim": 128, "queue_size": 4096, "momentum": 0.99, "temperature": 0.1}
    | {"norm_groups": 8, "hidden_dim": 512},
    "training": {
        "epochs": 1200,
        "minutes": None,
        "steps": None,
        "batch_size": 512,
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "warmup_steps": 0,
        "hold_steps": 0,
    },
    "peak": 0.06,
}
FROZEN = {
    "data": {"image_size": 224},
    "views": SIMCLR | {"blur": 0.5},
    "model": {
        "backbone": "resnet50",
        "weights": "moco_v2_800ep_pretrain.pth.tar",
        "weights_saw": "no labels",
        "frozen": True,
        "cached_views": 0,
    },
    "method": {"name": "cdc", "num_clusters": 100},
    "settings": DETERMINED
    | {"frame": "moco-v2", "instance_dim": 256, "queue_size": 65536, "momentum": 0.999, "temperature": 0.2}
    | {"norm_groups": 8},
    "training": SCRATCH["training"]
    | {"epochs": 400, "batch_size": 256, "weight_decay": 1e-4, "neighbors": 0, "heads": 1},
    "peak": 0.03,
}
CENTER = {
    "data": {"source": "cifar10", "image_size": 224},  # train and test together
    "views": SIMCLR,
    "model": {"backbone": "resnet34", "weights": "none", "frozen": False, "small_stem": False, "start": ""},
    "method": {"name": "center", "num_clusters": 10},
    "settings": {
        "instance_weight": 1.0,
        "clustering_weight": 1.0,
        "anchor_weight": 1.0,
        "temperature": 0.5,
        "degrees": 1.0,
        "projection_dim": 128,
        "hidden_dim": 512,
        "views": "mixed",
        "warmup": 0.0,
        "reseed": False,
    },
    "training": {
        "epochs": 2000,
        "minutes": None,
        "steps": None,
        "batch_size": 128,
        "optimizer": "adamw",
        "weight_decay": 0.0,
        "warmup_steps": 50,
        "hold_steps": 0,
    },
    "peak": 3e-4,
}


def _with(table: dict[str, Any], **sections: dict[str, Any] | float) -> dict[str, Any]:
    """The table with other values in some of its sections."""
    changed = {name: table[name] | value if isinstance(value, dict) else value for name, value in sections.items()}
    return table | changed


PAPER = {
    "cdc-cifar10": SCRATCH,
    "cdc-cifar100-20": _with(SCRATCH, data={"source": "cifar100-20:train"}, method={"num_clusters": 20}),
    "cdc-stl10": _with(
        SCRATCH,
        data={"source": "stl10:train", "image_size": 96},
        model={"small_stem": False},
        settings={"queue_size": 1024},  # 4,096 are most of its 5,000 images
    ),
    "cdc-imagenet100": FROZEN,
    "cdc-imagenet200": _with(FROZEN, method={"num_clusters": 200}),
    "cdc-imagenet1k": _with(
        FROZEN,
        views={"saturation": 0.2},
        model={"weights": "r-50-1000ep.pth.tar"},
        method={"num_clusters": 1000},
        settings={
            "frame": "moco-v3",
            "momentum": 0.99,
            "momentum_schedule": "cosine",
            "temperature": 1.0,
            # it has neither a queue nor groups: those of the configuration stay
            "queue_size": 4096,
            "norm_groups": 1,
        },
        training={
            "epochs": 200,
            "batch_size": 4096,
            "optimizer": "lars",
            "nesterov": True,  # which LARS does not know
            "weight_decay": 1e-6,
            "warmup_steps": 3120,
        },
        peak=0.3 * 16,
    ),
    "center-cifar10": CENTER,
    "center-imagenet10": _with(CENTER, data={"source": ""}),
    "center-imagenet-dogs": _with(CENTER, data={"source": ""}, method={"num_clusters": 15}),
    "center-tiny-imagenet": _with(CENTER, data={"source": ""}, method={"num_clusters": 200}),
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
    assert run.metrics()["training"]["steps"] == 2
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
def test_every_value_is_the_papers(name: str, images: str) -> None:
    asked = make_recipe(name, {}, [])
    recipe = with_model(asked, open_source(images))  # what a recipe leaves open, the images decide
    found: dict[str, Any] = {
        section: getattr(recipe, section).model_dump() for section in ("data", "views", "model", "method", "training")
    }
    found |= {"settings": method_config(recipe).model_dump(), "peak": Plan.of(recipe.training).peak}
    for section, values in PAPER[name].items():
        if isinstance(values, dict):
            assert {key: found[section][key] for key in values} == values, section
        else:
            assert found[section] == pytest.approx(values)
    assert asked.stage.name == ""


def test_every_recipe_says_how_it_is_run_and_what_it_takes() -> None:
    results = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    for name, file in recipe_files().items():
        header = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert any(line.startswith(f"# likewise train {name} ") for line in header), name
        if name != "fashion-mnist-demo" and "ot measured yet" not in "".join(header):
            assert re.search(rf"(?<![\w-]){name}(?![\w-])", results), f"{name}: what was measured?"
