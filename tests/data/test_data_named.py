"""Sets that are known by name."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torchvision

from likewise.data import SETS, SOURCES, load_images, open_source
from likewise.data.named import _SUPERCLASS_OF
from likewise.errors import InputError, RunError


def test_built_in_set() -> None:
    source = open_source("fashion-mnist-5k")
    assert (source.kind, source.spec, len(source)) == ("set", "fashion-mnist-5k", 5000)
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [500] * 10
    assert source.class_names is not None
    assert (len(source.class_names), source.class_names[9]) == (10, "Ankle boot")
    # Taken once from the original data, by the rule in the loader's docstring.
    assert source.digest() == "sha256:a1f1918ab9a3f357b39336056b587b9937d6e2e09f91828cb9795b46f4ba2b4a"
    assert (
        hashlib.sha256(source.labels.astype(np.uint8).tobytes()).hexdigest()
        == "66dffbde5034f8852eaa429de1e3092be8af20fe18e3fc00fe1b6d4dccad4fd3"
    )
    store = load_images(source, 28)
    assert (store.channels, store.in_memory, store.skipped) == (1, True, [])


class FakeSet:
    """Stands in for one of torchvision's sets."""

    classes = ("cat", "dog")

    def __init__(self, root: str, train: bool = True, split: str = "", download: bool = False) -> None:
        first = train if not split else split == "train"
        assert download
        self.root, self.targets = root, [0, 1, 0] if first else [1]
        self.data = np.full((len(self.targets), 32, 32, 3), 7 if first else 9, np.uint8)


@pytest.mark.parametrize(("name", "cls"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100"), ("stl10", "STL10")])
def test_torchvision_sets(name: str, cls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, cls, FakeSet)
    both, test = open_source(name), open_source(f"{name}:test")
    assert (len(both), len(test), test.spec) == (4, 1, f"{name}:test")
    assert both.labels is not None
    assert both.labels.tolist() == [0, 1, 0, 1]
    assert int(both.read(3, 32)[0, 0, 0]) == 9
    assert both.class_names == ["cat", "dog"]


def test_superclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cifar100(FakeSet):
        def __init__(self, root: str, **given: Any) -> None:
            super().__init__(root, **given)
            self.targets = [0, 51, 53, 57, 83]  # apple, mushroom, orange, pear, sweet pepper
            self.data = np.zeros((5, 32, 32, 3), np.uint8)

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", Cifar100)
    source = open_source("cifar100-20:test")
    assert source.labels is not None
    assert source.class_names is not None
    assert {source.class_names[label] for label in source.labels} == {"fruit and vegetables"}
    assert np.bincount(_SUPERCLASS_OF).tolist() == [5] * 20


def test_failed_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fail)
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path))
    with pytest.raises(RunError, match=r"network is unreachable.*'fashion-mnist-5k'") as caught:
        open_source("fashion-mnist:train")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["cifar10:trian", "fashion-mnist-5k:test", "stl10:"])
def test_unknown_split(name: str) -> None:
    with pytest.raises(InputError, match="unknown split of"):
        open_source(name)


def test_tables_say_what_they_hold() -> None:
    for entry in [*SETS.values(), *SOURCES.values()]:
        assert 10 < len(entry.description) < 100


def test_import_is_light() -> None:
    program = "import likewise.data, sys; print([m for m in ('torch', 'torchvision', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
