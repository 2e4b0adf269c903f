"""Every table can be listed, one line an entry."""

import pytest

from likewise.listing import entries


@pytest.mark.parametrize(
    ("table", "some"),
    [
        ("methods", {"cdc", "simclr", "moco-v2", "scan"}),
        ("stages", {"self-label"}),
        ("backbones", {"resnet9", "efficientnet_lite0"}),
        ("data", {"folder", "array", "list", "fashion-mnist-5k", "cifar10"}),
        ("views", {"simclr", "simclr-blur", "gentle", "strong"}),
        ("recipes", {"fashion-mnist-demo", "cdc-cifar10"}),
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


def test_what_can_only_be_given_from_python_is_not_listed() -> None:
    assert "memory" not in dict(entries("data"))
