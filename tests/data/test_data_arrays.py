"""Arrays in files and in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from likewise.data import load_images, open_source
from likewise.errors import InputError


def pictures(count: int = 5, height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


LAYOUTS = {
    "NHW": (lambda images: images[..., 0], 1),
    "NHW1": (lambda images: images, 1),
    "N1HW": (lambda images: images.transpose(0, 3, 1, 2), 1),
    "NHW3": (lambda images: images, 3),
    "N3HW": (lambda images: images.transpose(0, 3, 1, 2), 3),
}
TYPES = {
    "uint8": lambda images: images,
    "uint16": lambda images: images.astype(np.uint16) * 257,
    "float32": lambda images: (images / 255).astype(np.float32),
    "float64": lambda images: images / 255,
}


@pytest.mark.parametrize("kind", ["array", "npy", "npz", "tensor"])
@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_types(layout: str, type_name: str, kind: str, tmp_path: Path) -> None:
    arrange, channels = LAYOUTS[layout]
    images = pictures(width=6, channels=channels)
    given = TYPES[type_name](arrange(images))
    data: object = given
    if kind == "tensor":
        data = torch.from_numpy(np.ascontiguousarray(given))
    elif kind != "array":
        data = tmp_path / f"a.{kind}"
        np.save(data, given) if kind == "npy" else np.savez(data, given)
    source = open_source(data)
    assert (source.kind, source.spec) == ("array", str(data) if isinstance(data, Path) else "")
    assert list(source.names) == ["0", "1", "2", "3", "4"]
    assert (source.locate(0), source.typical_side()) == (None, 6)
    for index in range(5):
        np.testing.assert_array_equal(source.read(index, 6), np.broadcast_to(images[index], (6, 6, 3)))


def test_half_precision_tensor() -> None:
    source = open_source(torch.full((2, 3, 4, 4), 0.5, dtype=torch.bfloat16, requires_grad=True))
    assert source.read(0, 2).tolist() == np.full((2, 2, 3), 128).tolist()


def test_oblong_images_are_cropped_as_files_are() -> None:
    images = np.zeros((1, 10, 30, 3), np.uint8)
    images[:, :, 10:20] = 200
    assert (open_source(images).read(0, 5)[:, 1:-1] == 200).all()


def test_npy_is_memory_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures())
    source = open_source(str(tmp_path / "a.npy"))
    assert isinstance(getattr(source, "images", None), np.memmap)
    assert source.digest() == open_source(pictures()).digest()


def test_npz_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pictures(), labels=np.arange(5, dtype=np.uint8), other=np.zeros(3))
    source = open_source(tmp_path / "a.npz")
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == [0, 1, 2, 3, 4]
    store = load_images(source, 4)
    assert store.indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": pictures(), "b": pictures()}, "holds the arrays a, b; call the one"),
        ({"labels": np.arange(3)}, "holds the arrays labels"),
        ({"images": pictures(), "labels": np.arange(4)}, r"give integers \[5\]"),
        ({"images": pictures(), "labels": np.zeros(5)}, r"give integers \[5\]"),
        ({"images": np.array([{}, None], dtype=object)}, "cannot be read as an array"),
    ],
)
def test_unusable_npz(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04nonsense", b"\x93NUMPY\x01\x00"])
def test_broken_array_file(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as an array"):
        open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.uint8), "is not images; give"),
        (np.zeros((9, 9, 3), np.uint8), "looks like one image"),
        (np.zeros((2, 4, 4, 4), np.uint8), "is not images; give"),
        (np.zeros((2, 2, 4, 4, 3), np.uint8), "is not images; give"),
        (np.zeros((2, 4, 4, 3), np.int64), "int64 is not images; give"),
        (np.zeros((2, 4, 4, 3), bool), "bool is not images; give"),
        (np.zeros((0, 4, 4, 3), np.uint8), "is not images; give"),
        (np.zeros((2, 0, 4, 3), np.uint8), "is not images; give"),
        (np.full((2, 4, 4, 3), 255.0), "holds floats from 255 to 255; floats must be from 0 to 1"),
        (np.full((2, 4, 4, 3), -0.5), "floats must be from 0 to 1"),
        (np.full((2, 4, 4, 3), np.nan), "floats must be from 0 to 1"),
    ],
)
def test_unusable_array(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(array)


def test_one_bad_float_image_is_one_image_less() -> None:
    images = np.zeros((1000, 4, 4, 3), np.float32)
    images[1, 0, 0, 0] = np.nan
    store = load_images(open_source(images), 4)
    assert len(store) == 999
    assert [image.name for image in store.skipped] == ["1"]


def test_digest_is_of_content() -> None:
    changed = pictures()
    changed[4, 5, 7, 2] ^= 1
    digests = [open_source(array).digest() for array in (pictures(), pictures(), changed, pictures()[:4])]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
