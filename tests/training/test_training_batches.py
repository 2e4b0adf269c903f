"""What a training step is fed with is a function of seed, epoch and step."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from likewise.data import load_images, open_source
from likewise.training.batches import Batches, FeatureBatches, ImageBatches, generator_of
from likewise.views import ViewConfig, Views

IMAGES, BATCH, CACHED = 22, 4, 5


def image_batches(seed: int, batch_size: int = BATCH) -> ImageBatches:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    return ImageBatches(load_images(open_source(images), 8), Views(ViewConfig(), 8), batch_size, seed)


def feature_cache(views: int = CACHED) -> np.ndarray:
    """Features [V, N, 2] that name their view and their image."""
    view, image = np.meshgrid(np.arange(views), np.arange(IMAGES), indexing="ij")
    return np.stack([view, image], axis=2).astype(np.float16)


def feature_batches(seed: int, batch_size: int = BATCH) -> FeatureBatches:
    return FeatureBatches(feature_cache(), batch_size, seed)


BOTH = pytest.mark.parametrize("make", [image_batches, feature_batches])
Make = Callable[..., Batches]


def same(one: list[Tensor] | tuple[Tensor, ...], other: list[Tensor] | tuple[Tensor, ...]) -> bool:
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@BOTH
def test_order_is_a_function_of_seed_and_epoch(make: Make) -> None:
    batches = make(1)
    first = list(batches.epoch(0))
    second = list(batches.epoch(1))
    assert same(first, list(batches.epoch(0)))
    assert same(second, list(make(1).epoch(1)))
    assert not same(first, second)
    assert not same(first, list(make(2).epoch(0)))


@BOTH
@pytest.mark.parametrize(("batch_size", "steps"), [(4, 5), (11, 2), (22, 1), (12, 1)])
def test_all_batches_are_of_one_size(make: Make, batch_size: int, steps: int) -> None:
    batches = make(0, batch_size)
    assert (batches.batch_size, batches.steps_per_epoch) == (batch_size, steps)
    assert [len(batch) for batch in batches.epoch(0)] == [batch_size] * steps


@BOTH
def test_views_are_a_function_of_seed_and_step(make: Make) -> None:
    batches = make(1)
    batch = next(iter(batches.epoch(0)))
    views = batches.views(batch, 7, 2)
    assert len(views) == 2
    assert not torch.equal(*views)
    assert same(views, batches.views(batch, 7, 2))
    assert same(views, make(1).views(batch, 7, 2))
    assert not same(views, batches.views(batch, 8, 2))
    assert not same(views, make(2).views(batch, 7, 2))


@BOTH
def test_global_random_state_does_not_matter(make: Make) -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = torch.get_rng_state()
        batch = next(iter(make(1).epoch(0)))
        results.append([batch, *make(1).views(batch, 0, 2)])
        assert torch.equal(before, torch.get_rng_state())
    assert same(*results)


def test_both_kinds_see_the_images_in_the_same_order() -> None:
    images = np.arange(IMAGES, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    pixels = ImageBatches(load_images(open_source(images), 4), Views(ViewConfig(), 4), BATCH, 3)
    for batch, rows in zip(pixels.epoch(2), feature_batches(3).epoch(2), strict=True):
        assert batch[:, 0, 0, 0].tolist() == rows.tolist()


def test_features_belong_to_the_images_of_the_batch() -> None:
    batches = feature_batches(0)
    for step, rows in enumerate(batches.epoch(0)):
        for view in batches.views(rows, step, 2):
            assert view.dtype == torch.float32
            assert view.shape == (BATCH, 2)
            assert view[:, 1].tolist() == rows.tolist()


@pytest.mark.parametrize("count", [2, 3, CACHED])
def test_no_cached_view_is_seen_twice_in_a_step(count: int) -> None:
    batches = feature_batches(0)
    rows = torch.arange(IMAGES)
    for step in range(20):
        chosen = torch.stack([view[:, 0] for view in batches.views(rows, step, count)], dim=1)
        assert all(len(set(row)) == count for row in chosen.tolist())


def test_where_there_are_too_few_cached_views_all_are_seen() -> None:
    batches = FeatureBatches(feature_cache(2), BATCH, 0)
    views = batches.views(torch.arange(IMAGES), 0, 3)
    chosen = torch.stack([view[:, 0] for view in views], dim=1)
    assert all(set(row) == {0, 1} for row in chosen.tolist())
    alone = FeatureBatches(feature_cache(1), BATCH, 0).views(torch.arange(IMAGES), 0, 2)
    assert torch.equal(*alone)


def test_every_cached_view_is_seen_about_as_often_as_any_other() -> None:
    batches = feature_batches(0)
    rows = torch.arange(IMAGES)
    seen = torch.cat([torch.cat(batches.views(rows, step, 2))[:, 0] for step in range(200)]).long()
    counts = torch.bincount(seen, minlength=CACHED) / len(seen)
    assert counts.min() > 0.9 / CACHED
    assert counts.max() < 1.1 / CACHED


def test_generators_of_steps_are_far_apart() -> None:
    seeds = {generator_of(seed, step).initial_seed() for seed in (0, 1, 2**63 - 1) for step in (*range(50), 10**9)}
    assert len(seeds) == 3 * 51
    # must never change: runs are resumed by it
    assert generator_of(0, 0).initial_seed() == 7896617691693857887
