"""What is decided where a recipe leaves it open, and what is said where that cannot work."""

from typing import Any

import numpy as np
import pytest

from likewise.config import Recipe
from likewise.data import ImageSource, open_source
from likewise.defaults import check_counts, with_budget, with_model
from likewise.errors import InputError
from likewise.recipe_book import make_recipe
from likewise.views import VIEWS, ViewConfig


class Sized(ImageSource):
    """Images of which only the size is known."""

    kind = "memory"

    def __init__(self, *sides: tuple[int, int]) -> None:
        self.sides, self.names = sides, [str(i) for i in range(len(sides))]

    def read(self, index: int, size: int) -> np.ndarray:
        raise AssertionError("no image needs to be read")

    def shape(self, index: int) -> tuple[int, int]:
        return self.sides[index]

    def digest(self) -> str:
        return ""


def decided(side: int, **given: Any) -> Recipe:
    return with_model(make_recipe(None, given, []), Sized((side, side)))


@pytest.mark.parametrize(
    ("side", "size", "view_size", "views"),
    [
        (8, 16, 0, "simclr"),
        (28, 28, 0, "simclr"),
        (31, 32, 0, "simclr"),
        (32, 32, 0, "simclr"),
        (64, 64, 0, "simclr"),
        (66, 64, 0, "simclr"),
        (68, 68, 64, "simclr-blur"),
        (96, 96, 64, "simclr-blur"),
        (500, 96, 64, "simclr-blur"),
    ],
)
def test_from_scratch(side: int, size: int, view_size: int, views: str) -> None:
    recipe = decided(side)
    assert (recipe.data.image_size, recipe.model.backbone) == (size, "resnet9")
    assert (recipe.model.weights, recipe.model.frozen) == ("none", False)
    assert recipe.views == VIEWS[views][0].model_copy(update={"size": view_size})


def test_views_are_smaller_where_nobody_has_chosen_a_backbone_or_their_size() -> None:
    assert decided(500, **{"data.image_size": 192}).views.size == 128
    assert decided(500, **{"views.size": 96}).views.size == 96
    assert decided(500, **{"model.backbone": "resnet18"}).views.size == 0
    assert decided(500, **{"model.weights": "pretrained"}).model.backbone == "resnet18"
    assert decided(500, **{"model.weights": "pretrained"}).views.size == 0


def test_the_shorter_side_of_the_median_image_counts() -> None:
    recipe = with_model(Recipe(), Sized((28, 400), (32, 40), (90, 33)))
    assert recipe.data.image_size == 32


def test_the_set_that_is_built_in() -> None:
    assert with_model(Recipe(), open_source("fashion-mnist-5k")).data.image_size == 28


def test_what_was_asked_for_stays() -> None:
    views = ViewConfig(blur=0.25)
    given = {"data.image_size": 48, "model.backbone": "resnet34", "model.frozen": False, "views": views.model_dump()}
    recipe = decided(500, **given)
    assert (recipe.data.image_size, recipe.model.backbone, recipe.views) == (48, "resnet34", views)


def test_an_image_size_that_was_asked_for_decides_the_rest() -> None:
    recipe = decided(500, **{"data.image_size": 64})
    assert (recipe.model.backbone, recipe.views) == ("resnet9", VIEWS["simclr"][0])


@pytest.mark.parametrize(
    ("given", "weights", "frozen", "size", "views"),
    [
        ({"model.backbone": "efficientnet_lite0"}, "pretrained", True, 224, "gentle"),
        ({"model.backbone": "efficientnet_lite0", "model.weights": "none"}, "none", False, 32, "simclr"),
        ({"model.backbone": "efficientnet_lite0", "model.frozen": False}, "pretrained", False, 224, "simclr-blur"),
        ({"model.backbone": "resnet18"}, "none", False, 32, "simclr"),
        ({"model.backbone": "resnet18", "model.weights": "pretrained"}, "pretrained", True, 224, "gentle"),
        ({"model.backbone": "resnet18", "model.weights": "w.pth"}, "w.pth", True, 224, "gentle"),
        ({"model.backbone": "resnet18", "model.frozen": True}, "pretrained", True, 224, "gentle"),
        ({"model.weights": "pretrained", "data.image_size": 96}, "pretrained", True, 96, "gentle"),
    ],
)
def test_weights_and_what_follows_from_them(
    given: dict[str, Any], weights: str, frozen: bool, size: int, views: str
) -> None:
    recipe = decided(32, **given)
    assert (recipe.model.weights, recipe.model.frozen, recipe.data.image_size) == (weights, frozen, size)
    assert recipe.views == VIEWS[views][0]


def test_deciding_twice_changes_nothing() -> None:
    once = with_budget(decided(96), 1000)
    assert with_budget(with_model(once, Sized((500, 500))), 1000) == once


def test_the_recipe_of_the_user_is_left_alone() -> None:
    recipe = Recipe()
    with_budget(with_model(recipe, Sized((32, 32))), 100)
    assert recipe == Recipe()


@pytest.mark.parametrize(
    ("clusters", "images", "batch"),
    [(10, 5000, 256), (10, 100, 100), (64, 5000, 256), (65, 5000, 260), (500, 70000, 1024), (450, 900, 900)],
)
def test_batch_size(clusters: int, images: int, batch: int) -> None:
    recipe = with_budget(decided(32, **{"method.num_clusters": clusters}), images)
    assert recipe.training.batch_size == batch


def test_a_batch_that_was_asked_for_stays() -> None:
    assert with_budget(decided(32, **{"training.batch_size": 4}), 1000).training.batch_size == 4


@pytest.mark.parametrize(
    ("given", "steps", "minutes"),
    [
        ({}, None, 10.0),
        ({"model.weights": "pretrained"}, 500, None),
        ({"training.minutes": 3}, None, 3.0),
        ({"model.weights": "pretrained", "training.minutes": 3}, None, 3.0),
        ({"training.steps": 7}, 7, None),
        ({"training.epochs": 2}, 6, None),
        ({"training.epochs": 0.5}, 2, None),
        ({"training.epochs": 0.01}, 1, None),
    ],
)
def test_budget(given: dict[str, Any], steps: int | None, minutes: float | None) -> None:
    training = with_budget(decided(32, **given), 1000).training  # three batches of 256 an epoch
    assert (training.steps, training.minutes) == (steps, minutes)


@pytest.mark.parametrize(
    ("clusters", "batch", "images", "expected"),
    [
        (1, 0, 100, "1 cluster: grouping needs at least 2; choose -k 2 or more."),
        (0, 0, 100, "0 clusters: grouping needs at least 2; choose -k 2 or more."),
        (-3, 0, 100, "-3 clusters: grouping needs at least 2; choose -k 2 or more."),
        (
            5000,
            0,
            1234,
            "1,234 images are too few for 5,000 clusters of at least two; choose -k 617 or less, or add images.",
        ),
        (2, 0, 1, "1 image is too few to learn from; at least 4 are needed."),
        (2, 0, 3, "3 images are too few to learn from; at least 4 are needed."),
        (
            10,
            2000,
            1234,
            "a batch of 2,000 is larger than the set of 1,234 images; "
            "choose 1234 or less: --set training.batch_size=1234.",
        ),
        (
            10,
            3,
            100,
            "a batch of 3 has too few negatives to learn from; choose 4 or more: --set training.batch_size=4.",
        ),
    ],
)
def test_what_cannot_work(clusters: int, batch: int, images: int, expected: str) -> None:
    recipe = make_recipe(None, {"method.num_clusters": clusters, "training.batch_size": batch}, [])
    for check in (check_counts, with_budget):
        with pytest.raises(InputError) as caught:
            check(recipe, images)
        assert str(caught.value) == expected


@pytest.mark.parametrize(("clusters", "batch", "images"), [(2, 0, 4), (2, 4, 4), (4, 4, 8)])
def test_the_least_that_works(clusters: int, batch: int, images: int) -> None:
    recipe = make_recipe(None, {"method.num_clusters": clusters, "training.batch_size": batch}, [])
    assert with_budget(recipe, images).training.batch_size == 4


def test_one_setting_of_the_views_leaves_the_choice_of_the_others() -> None:
    recipe = Recipe.parse(
        {"views": {"flip": 0.0}, "model": {"backbone": "resnet18", "frozen": True, "weights": "none"}}
    )
    views = with_model(recipe, Sized((32, 32))).views
    assert views == VIEWS["gentle"][0].model_copy(update={"flip": 0.0})


@pytest.mark.parametrize(
    ("given", "neighbors"),
    [
        ({}, 0),
        ({"model.frozen": True}, 20),
        ({"model.frozen": True, "method.num_clusters": 40}, 5),
        ({"model.frozen": True, "method.num_clusters": 400}, 1),
        ({"model.frozen": True, "method.name": "center"}, 0),
        ({"method.name": "scan", "model.start": "run"}, 20),
        ({"method.name": "scan", "model.start": "run", "training.neighbors": 5}, 5),
        ({"method.name": "scan", "model.start": "run", "stage.name": "self-label"}, 0),
    ],
)
def test_neighbours(given: dict[str, Any], neighbors: int) -> None:
    assert with_budget(decided(32, **given), 1000).training.neighbors == neighbors


@pytest.mark.parametrize("method", ["cdc", "scan"])
def test_neighbours_are_at_most_a_fifth_of_a_fair_cluster(method: str) -> None:
    given = {"method.name": method, "model.start": "run", "model.frozen": True, "method.num_clusters": 50}
    assert with_budget(decided(32, **given), 1000).training.neighbors == 4


def test_epochs_and_steps_must_say_the_same() -> None:
    recipe = with_budget(decided(32, **{"training.epochs": 10}), 600)
    assert recipe.training.steps == 20
    assert with_budget(recipe, 600).training.steps == 20
    recipe.training.epochs = 100
    with pytest.raises(InputError, match=r"epochs = 100 makes 200 steps of 256 .*steps = 20: leave one"):
        with_budget(recipe, 600)


@pytest.mark.parametrize("method", ["cdc", "center"])
def test_numbers_may_be_written_as_text(method: str) -> None:
    name = {"cdc": "assignment_temperature", "center": "instance_weight"}[method]
    recipe = make_recipe(None, {"method.name": method}, [f"method.settings.{name}=.1"])
    assert with_model(recipe, Sized((32, 32))).method.settings[name] == 0.1


@pytest.mark.parametrize(
    ("given", "heads"),
    [
        ({}, 5),
        ({"method.settings.frame": "moco-v2"}, 1),
        ({"method.name": "simclr"}, 1),
        ({"model.frozen": True}, 5),
        ({"model.frozen": True, "training.heads": 2}, 2),
        ({"model.frozen": True, "method.name": "scan"}, 5),
        ({"model.frozen": True, "method.name": "simclr"}, 1),
        ({"model.frozen": True, "method.name": "center"}, 1),
        ({"model.frozen": True, "stage.name": "self-label"}, 1),
        ({"method.name": "scan", "model.start": "run"}, 1),
    ],
)
def test_heads(given: dict[str, Any], heads: int) -> None:
    assert with_budget(decided(32, **given), 1000).training.heads == heads


@pytest.mark.parametrize(
    "given",
    [
        {"method.settings.frame": "moco-v3"},
        {"model.frozen": True, "method.name": "simclr"},
        {"stage.name": "self-label"},
    ],
)
def test_several_heads_are_for_clusters_on_features(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="heads=1"):
        with_budget(decided(32, **given | {"training.heads": 2}), 1000)


def test_the_views_of_center_are_of_one_image() -> None:
    with pytest.raises(InputError, match="neighbors=0"):
        with_budget(decided(32, **{"model.frozen": True, "method.name": "center", "training.neighbors": 5}), 1000)


def test_scan_needs_a_start() -> None:
    with pytest.raises(InputError, match="start from a run"):
        with_budget(decided(32, **{"method.name": "scan"}), 1000)


@pytest.mark.parametrize(
    ("frozen", "given", "steps", "minutes"),
    [(False, {}, None, 3.0), (True, {}, 500, None), (False, {"training.steps": 9}, 9, None)],
)
def test_a_stage_trains_in_its_own_way(
    frozen: bool, given: dict[str, Any], steps: int | None, minutes: float | None
) -> None:
    asked = {"stage.name": "self-label", "model.frozen": frozen, "model.weights": "none", "training.momentum": 0.5}
    recipe = with_budget(decided(32, **asked | given), 1000)
    training = recipe.training
    assert recipe.views == VIEWS["strong"][0]
    assert (training.optimizer, training.learning_rate, training.momentum) == ("adamw", 1e-4, 0.5)
    assert (training.steps, training.minutes, training.neighbors) == (steps, minutes, 0)
    assert with_budget(with_model(recipe, Sized((500, 500))), 1000) == recipe


def test_what_is_set_stays_in_a_stage() -> None:
    asked = {"stage.name": "self-label", "training.optimizer": "sgd", "training.learning_rate": 0.3, "views.flip": 0.0}
    recipe = with_budget(decided(32, **asked), 1000)
    assert (recipe.training.optimizer, recipe.training.learning_rate) == ("sgd", 0.3)
    assert recipe.views == VIEWS["strong"][0].model_copy(update={"flip": 0.0})


def test_what_the_method_suggests_gives_way_to_what_is_set() -> None:
    softer = {"temperature": 0.5, "assignment_temperature": 0.205, "epsilon": 0.1025}
    assert decided(32).method.settings == softer
    given = decided(32, **{"method.settings.epsilon": 0.3, "method.settings.hidden_dim": 8}).method.settings
    assert given == softer | {"epsilon": 0.3, "hidden_dim": 8}


def test_frozen_backbones_train_for_five_epochs_in_large_sets() -> None:
    recipe = decided(32, **{"model.frozen": True})
    assert with_budget(recipe, 1000).training.steps == 500
    assert with_budget(recipe, 256_000).training.steps == 5000


@pytest.mark.parametrize(
    ("images", "given", "expected"),
    [
        (100_000, {}, 4096),
        (5_000, {}, 1250),
        (600, {}, 256),  # a batch at least
        (5_000, {"method.settings.queue_size": 4096}, 4096),
    ],
)
@pytest.mark.parametrize("method", [{"method.name": "moco-v2"}, {"method.settings.frame": "moco-v2"}])
def test_a_queue_does_not_hold_most_of_the_images(
    images: int, given: dict[str, Any], expected: int, method: dict[str, Any]
) -> None:
    recipe = with_budget(decided(32, **method, **given), images)
    assert recipe.method.settings["queue_size"] == expected


def test_frames_without_a_queue_have_none() -> None:
    for method in ("cdc", "simclr", "center"):
        settings = with_budget(decided(32, **{"method.name": method}), 5_000).method.settings
        assert not {"queue_size", "norm_groups"} & settings.keys()


@pytest.mark.parametrize(
    ("given", "processes", "expected"),
    [
        ({}, 1, 8),
        ({"model.frozen": True}, 1, 8),
        ({"training.batch_size": 16}, 1, 8),
        ({"training.batch_size": 15}, 1, 1),
        ({"training.batch_size": 32}, 4, 1),
        ({"method.settings.norm_groups": 1}, 1, 1),
        ({"method.settings.norm_groups": 3}, 1, 3),
    ],
)
@pytest.mark.parametrize("method", [{"method.name": "moco-v2"}, {"method.settings.frame": "moco-v2"}])
def test_batch_norm_sees_eight_groups_where_the_batch_allows_it(
    given: dict[str, Any], processes: int, expected: int, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("likewise.defaults", "likewise.methods.frames"):
        monkeypatch.setattr(f"{module}.world_size", lambda: processes)
    recipe = with_budget(decided(32, **method, **given), 5_000)
    assert recipe.method.settings["norm_groups"] == expected


@pytest.mark.parametrize(("method", "temperature"), [("simclr", 0.5), ("moco-v2", 0.2)])
def test_each_frame_alone_has_its_own_temperature(method: str, temperature: float) -> None:
    assert decided(32, **{"method.name": method}).method.settings == {"temperature": temperature}
    given = {"method.name": method, "method.settings.temperature": 0.1}
    assert decided(32, **given).method.settings == {"temperature": 0.1}


def test_neighbours_need_fewer_cached_views() -> None:
    frozen = {"model.frozen": True, "model.weights": "none"}
    assert with_budget(decided(32, **frozen), 600).model.cached_views == 2
    assert with_budget(decided(32, **frozen, **{"training.neighbors": 0}), 600).model.cached_views == 8
    assert with_budget(decided(32, **frozen, **{"model.cached_views": 5}), 600).model.cached_views == 5


def test_two_views_need_two_cached_views_or_neighbours() -> None:
    frozen = {"model.frozen": True, "model.weights": "none", "model.cached_views": 1}
    with pytest.raises(InputError, match="both views of an image are the same"):
        with_budget(decided(32, **frozen, **{"training.neighbors": 0}), 600)
    assert with_budget(decided(32, **frozen), 600).training.neighbors


def test_groups_of_batch_norm_need_two_images() -> None:
    moco = {"method.name": "moco-v2", "method.settings.norm_groups": 8}
    with pytest.raises(InputError, match="norm_groups=7 or less"):
        with_budget(decided(32, **moco, **{"training.batch_size": 15}), 600)
    assert with_budget(decided(32, **moco, **{"training.batch_size": 16}), 600)
