"""Lists of pictures and torch Datasets."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from likewise.data import load_images, open_source
from likewise.errors import InputError


class Items(Dataset[Any]):
    """A map-style dataset over a list."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def grey(value: int, height: int = 4, width: int = 4) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_list_of_all_kinds() -> None:
    items = [
        Image.fromarray(grey(10)),
        grey(20, 5, 9),
        grey(30)[..., 0],
        torch.full((3, 4, 6), 40 / 255),
        np.full((4, 4), 50 * 257, np.uint16),
        Image.new("RGBA", (3, 3), (0, 0, 0, 0)),
    ]
    source = open_source(items)
    assert (source.kind, source.spec, len(source)) == ("memory", "", 6)
    assert [int(source.read(index, 3)[1, 1, 0]) for index in range(6)] == [10, 20, 30, 40, 50, 255]
    assert [source.shape(index) for index in (1, 3)] == [(9, 5), (6, 4)]
    assert source.labels is None
    assert source.digest() == open_source(list(items)).digest()
    assert source.digest() != open_source(items[::-1]).digest()


@pytest.mark.parametrize("label", [int, np.int64, torch.tensor])
def test_dataset_with_labels(label: Any) -> None:
    source = open_source(Items([(Image.fromarray(grey(index)), label(index % 3)) for index in range(7)]))
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert int(source.read(5, 2)[0, 0, 0]) == 5


@pytest.mark.parametrize("label", ["cat", 0.5, None, True])
def test_labels_that_are_no_numbers(label: object) -> None:
    assert open_source(Items([(grey(1), 1), (grey(2), label)])).labels is None


def test_dataset_without_labels() -> None:
    source = open_source(Items([grey(1), grey(2)]))
    assert source.labels is None
    assert len(load_images(source, 4)) == 2


def test_torch_datasets() -> None:
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 5, 5)
    dataset = TensorDataset(images, torch.tensor([3, 2, 1, 0]))
    source = open_source(Subset(dataset, [2, 0]))
    assert [int(source.read(index, 5)[0, 0, 0]) for index in (0, 1)] == [2, 0]
    assert source.labels is not None
    assert source.labels.tolist() == [1, 3]


def test_targets_and_classes_of_the_dataset() -> None:
    dataset: Any = Items([(grey(1), 9), (grey(2), 9)])
    dataset.targets, dataset.classes = torch.tensor([1, 0]), ("cat", "dog")
    source = open_source(dataset)
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0]
    assert source.class_names == ["cat", "dog"]


def test_items_that_fail_are_left_out() -> None:
    items = [grey(1), ValueError("no"), "text", np.zeros((4, 4, 7), np.uint8), np.full((4, 4), 9.0), grey(2)]
    store = load_images(open_source(Items(items)), 4)
    assert store.indices.tolist() == [0, 5]
    reasons = " | ".join(image.reason for image in store.skipped)
    for part in ("fetched (ValueError: no)", "is a str", "shape [4, 4, 7]", "floats must be from 0 to 1"):
        assert part in reasons


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Items([]), "holds no images"),
        ([3, 4], "first item of this list is a int"),
        (Items([{"image": grey(1)}]), "first item of this Items is a dict"),
        (["a.png", grey(1)], "first item of this list is a str"),
        ({"a": grey(1)}, "a dict is no source"),
        (iter([grey(1)]), "is no source"),
    ],
)
def test_unusable(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(data)
