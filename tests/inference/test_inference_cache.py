"""Cached features: right, computed once, and never those of anything else."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from likewise.config import Recipe
from likewise.data import ImageStore, UnreadableImage, load_images, open_source
from likewise.errors import InputError
from likewise.inference.cache import CachedFeatures, cached_features
from likewise.models import Backbone
from likewise.models.backbones import Built
from likewise.recipe_book import make_recipe
from likewise.training.batches import generator_of
from likewise.training.machine import Machine
from likewise.views import Views, plain_view

FP32 = Machine("cpu", bf16=False, compile=False, reason="test")
BF16 = Machine("cpu", bf16=True, compile=False, reason="test")
IMAGES, SIZE, VIEWS, WIDTH = 70, 8, 3, 4  # two batches of 64 at most


class Counting(nn.Module):
    """A small network that counts its calls, and breaks at one of them if told so."""

    num_features = WIDTH

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * SIZE * SIZE, WIDTH)
        self.calls, self.breaks_at = 0, breaks_at

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.breaks_at:
            raise KeyboardInterrupt
        return self.layer(images.flatten(1))


def new_backbone(seed: int = 0, breaks_at: int | None = None) -> Backbone:
    torch.manual_seed(seed)
    return Backbone(Built(Counting(breaks_at)), 3).eval().requires_grad_(False)


def calls(backbone: Backbone) -> int:
    assert isinstance(backbone.network, Counting)
    return backbone.network.calls


def new_store(seed: int = 0, count: int = IMAGES) -> ImageStore:
    images = np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return load_images(open_source(images), SIZE)


def new_recipe(**changes: object) -> Recipe:
    return make_recipe(None, {"model.cached_views": VIEWS, "data.image_size": SIZE} | changes, [])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def test_features_are_those_of_the_backbone() -> None:
    backbone, store, recipe = new_backbone(), new_store(), new_recipe()
    found = cached_features(backbone, store, recipe, FP32)
    assert found.rows.tolist() == list(range(IMAGES))
    assert (found.plain.shape, found.plain.dtype) == ((IMAGES, WIDTH), np.float32)
    assert (found.views.shape, found.views.dtype) == ((VIEWS, IMAGES, WIDTH), np.float16)
    make = Views(recipe.views, SIZE)
    for rows, images in store.batches(64):
        np.testing.assert_allclose(found.plain[rows], backbone(plain_view(images)).numpy(), rtol=1e-5, atol=1e-6)
        generator = generator_of(0, int(rows[0]))
        for view in range(VIEWS):
            expected = backbone(make(images, generator)).numpy()
            np.testing.assert_allclose(found.views[view, rows], expected, rtol=2e-3, atol=1e-4)


def test_features_are_memory_mapped() -> None:
    found = cached_features(new_backbone(), new_store(), new_recipe(), FP32)
    for array in found:
        assert isinstance(array, np.memmap)
        assert array.mode == "r"


def test_features_are_computed_once(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = new_backbone(), new_backbone()
    one = cached_features(first, new_store(), new_recipe(), FP32)
    assert calls(first) == 2 * (VIEWS + 1)
    assert "using the features" not in capsys.readouterr().err
    other = cached_features(second, new_store(), new_recipe(), FP32)
    assert calls(second) == 0
    for array, again in zip(one, other, strict=True):
        np.testing.assert_array_equal(array, again)
    (folder,) = cache.iterdir()
    assert f"using the features in {folder}" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["plain.npy", "rows.npy", "views.npy"]


@pytest.mark.parametrize(
    "changes",
    [{"training.learning_rate": 0.1}, {"method.num_clusters": 3}, {"data.source": "x"}, {"training.batch_size": 8}],
    ids=str,
)
def test_what_does_not_decide_the_features(changes: dict[str, object]) -> None:
    cached_features(new_backbone(), new_store(), new_recipe(), FP32)
    again = new_backbone()
    cached_features(again, new_store(), new_recipe(**changes), FP32)
    assert calls(again) == 0


def every_other() -> ImageStore:
    store = new_store()
    rows = np.arange(0, IMAGES, 2)
    pixels = store.read(rows).numpy()
    return ImageStore(store.source, SIZE, 3, store.indices[rows], pixels, [], strict=False, workers=1)


@pytest.mark.parametrize(
    "again",
    [
        lambda: cached_features(new_backbone(), new_store(), new_recipe(**{"training.seed": 1}), FP32),
        lambda: cached_features(new_backbone(), new_store(), new_recipe(**{"views.blur": 0.5}), FP32),
        lambda: cached_features(new_backbone(), new_store(), new_recipe(**{"model.cached_views": 2}), FP32),
        lambda: cached_features(new_backbone(), new_store(), new_recipe(**{"model.backbone": "other"}), FP32),
        lambda: cached_features(new_backbone(), new_store(), new_recipe(**{"data.scaled_decoding": False}), FP32),
        lambda: cached_features(new_backbone(seed=1), new_store(), new_recipe(), FP32),
        lambda: cached_features(new_backbone(), new_store(seed=1), new_recipe(), FP32),
        lambda: cached_features(new_backbone(), new_store(count=IMAGES - 1), new_recipe(), FP32),
        lambda: cached_features(new_backbone(), every_other(), new_recipe(), FP32),
        lambda: cached_features(new_backbone(), new_store(), new_recipe(), BF16),
    ],
    ids=["seed", "views", "count", "backbone", "decoding", "weights", "images", "fewer", "subset", "precision"],
)
def test_what_decides_the_features(again: Callable[[], CachedFeatures], cache: Path) -> None:
    cached_features(new_backbone(), new_store(), new_recipe(), FP32)
    again()
    assert len(list(cache.iterdir())) == 2


def test_without_cached_views_all_seeds_share_the_features(cache: Path) -> None:
    for changes in ({"training.seed": 1}, {"views.blur": 0.5}, {}):
        found = cached_features(new_backbone(), new_store(), new_recipe(**{"model.cached_views": 0} | changes), FP32)
        assert found.views.shape[0] == 0
        assert len(found.plain) == IMAGES
    assert len(list(cache.iterdir())) == 1


def test_what_another_process_has_written_must_be_seen(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likewise.inference.cache.rank", lambda: 1)
    with pytest.raises(InputError, match="a folder that all machines share"):
        cached_features(new_backbone(), new_store(), new_recipe(), FP32)


def test_the_normalisation_of_pixels_counts_as_weights(cache: Path) -> None:
    cached_features(new_backbone(), new_store(), new_recipe(), FP32)
    other = new_backbone()
    other.mean.fill_(0.25)  # type: ignore[operator, union-attr]
    cached_features(other, new_store(), new_recipe(), FP32)
    assert len(list(cache.iterdir())) == 2


def folder_of(path: Path, value: int) -> Path:
    """A folder of uncompressed pictures, whose names and lengths do not tell what is on them."""
    path.mkdir(exist_ok=True)
    for index in range(4):
        Image.new("RGB", (SIZE, SIZE), (value, index, 0)).save(path / f"{index}.bmp")
    return path


def of_folder(path: Path) -> np.ndarray:
    return cached_features(new_backbone(), load_images(open_source(path), SIZE), new_recipe(), FP32).plain


def test_folders_that_look_alike_from_outside(tmp_path: Path) -> None:
    one, other = folder_of(tmp_path / "one", 0), folder_of(tmp_path / "other", 255)
    assert open_source(one).digest() == open_source(other).digest()
    assert not np.allclose(of_folder(one), of_folder(other))


def test_files_that_were_edited_and_kept_their_length(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "one", 0)
    before = of_folder(path).copy()
    np.testing.assert_array_equal(before, of_folder(path))
    folder_of(path, 255)
    os.utime(path / "2.bmp", (1, 1))
    assert not np.allclose(before, of_folder(path))


@pytest.mark.parametrize("call", [1, 2, 2 * (VIEWS + 1)])
def test_an_interrupted_computation_is_not_taken_for_complete(call: int, cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached_features(new_backbone(breaks_at=call), new_store(), new_recipe(), FP32)
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    again = new_backbone()
    assert np.isfinite(cached_features(again, new_store(), new_recipe(), FP32).views).all()
    assert calls(again) == 2 * (VIEWS + 1)


def test_a_kill_is_not_taken_for_complete(cache: Path) -> None:
    whole = cached_features(new_backbone(), new_store(), new_recipe(), FP32)
    expected = [np.array(array) for array in whole]
    (folder,) = cache.iterdir()
    # what a kill leaves: temporary files, and at the very end all but the last one renamed
    (folder / "views.npy").rename(folder / ".views.npy.abc.npy")
    (folder / "plain.npy").write_bytes(b"old")
    again = new_backbone()
    found = cached_features(again, new_store(), new_recipe(), FP32)
    assert calls(again) > 0
    for array, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, right)


def test_images_that_turn_unreadable_meanwhile_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    source = open_source(images)
    store = load_images(source, SIZE, memory_bytes=0, workers=2)
    read = source.read

    def broken(index: int, size: int) -> np.ndarray:
        if index in (5, 66):
            raise UnreadableImage("is cut short")
        return read(index, size)

    monkeypatch.setattr(source, "read", broken)
    backbone = new_backbone()
    found = cached_features(backbone, store, new_recipe(), FP32)
    kept = [row for row in range(IMAGES) if row not in (5, 66)]
    assert found.rows.tolist() == kept
    assert found.plain.shape == (68, WIDTH)
    assert found.views.shape == (VIEWS, 68, WIDTH)
    pixels = plain_view(torch.from_numpy(images[kept]).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.plain, backbone(pixels).numpy(), rtol=1e-5, atol=1e-6)
