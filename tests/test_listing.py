"""Every table can be listed, one line for each entry."""

import pytest

from likewise.assembly import method_config
from likewise.errors import InputError
from likewise.listing import entries
from likewise.recipe_book import make_recipe


@pytest.mark.parametrize(
    ("table", "some"),
    [
        ("methods", {"cdc", "simclr", "moco-v2", "scan"}),
        ("stages", {"self-label"}),
        ("backbones", {"resnet9", "efficientnet_lite0"}),
        ("data", {"folder", "array", "list", "fashion-mnist-5k", "cifar10"}),
        ("views", {"simclr", "simclr-blur", "gentle", "strong"}),
        ("recipes", {"fashion-mnist-demo", "cdc-cifar10"}),
        ("settings", {"views.crop_scale", "method.settings.queue_size", "stage.settings.threshold", "training.seed"}),
        ("comparisons", {"kmeans-pixels", "cdc", "simclr-neighbors"}),
        ("ablations", {"full", "no-equipartition", "t2-1"}),
    ],
)
def test_entries(table: str, some: set[str]) -> None:
    rows = list(entries(table))
    names = [name for name, _ in rows]
    assert some <= set(names)
    assert len(names) == len(set(names))
    for name, about in rows:
        assert name == name.strip() != ""
        assert about.strip()
        assert "\n" not in name + about


def test_settings_are_those_that_a_recipe_takes() -> None:
    for method, own in (("cdc", "epsilon"), ("center", "anchor_weight")):
        listed = dict(entries("settings", method))
        assert f"method.settings.{own}" in listed
        assert all("None" not in about for about in listed.values())
        # what --set is given by these names is taken
        for name, about in listed.items():
            default = about[1:].partition("] ")[0].partition(", or ")[0]
            if default != "open":
                method_config(make_recipe(None, {"method.name": method}, [f"{name}={default}"]))
        assert len(listed) > 50
    assert "0.205 for 10 clusters from scratch" in dict(entries("settings"))["method.settings.assignment_temperature"]
    with pytest.raises(InputError, match="unknown method"):
        list(entries("settings", "nope"))


def test_what_can_only_be_given_from_python_is_not_listed() -> None:
    assert "memory" not in dict(entries("data"))
