"""What a training step is fed with is a function of seed, epoch and step."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from likewise.data import load_images, open_source
from likewise.methods import View
from likewise.training.batches import Batches, FeatureBatches, ImageBatches, LabelledBatches, Neighbors, generator_of
from likewise.views import ViewConfig, Views

IMAGES, BATCH, CACHED = 22, 4, 5
TWO: tuple[View, ...] = ("augmented", "augmented")


def image_batches(seed: int, batch_size: int = BATCH) -> ImageBatches:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    return ImageBatches(load_images(open_source(images), 8), Views(ViewConfig(), 8), batch_size, seed)


def feature_cache(views: int = CACHED) -> np.ndarray:
    """Features [V, N, 2] that name their view and their image."""
    view, image = np.meshgrid(np.arange(views), np.arange(IMAGES), indexing="ij")
    return np.stack([view, image], axis=2).astype(np.float16)


def plain_features() -> np.ndarray:
    """Features [N, 2] of the images as they are, as of a view 100."""
    return np.stack([np.full(IMAGES, 100.0), np.arange(IMAGES)], axis=1).astype(np.float32)


def feature_batches(seed: int, batch_size: int = BATCH) -> FeatureBatches:
    return FeatureBatches(feature_cache(), plain_features(), batch_size, seed)


BOTH = pytest.mark.parametrize("make", [image_batches, feature_batches])
Make = Callable[..., Batches]


def raw(batches: Batches, epoch: int) -> list[Tensor]:
    return [images for (images,) in batches.epoch(epoch)]


def same(one: list[Tensor] | tuple[Tensor, ...], other: list[Tensor] | tuple[Tensor, ...]) -> bool:
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@BOTH
def test_order_is_a_function_of_seed_and_epoch(make: Make) -> None:
    batches = make(1)
    first = raw(batches, 0)
    second = raw(batches, 1)
    assert same(first, raw(batches, 0))
    assert same(second, raw(make(1), 1))
    assert not same(first, second)
    assert not same(first, raw(make(2), 0))


@BOTH
@pytest.mark.parametrize(("batch_size", "steps"), [(4, 5), (11, 2), (22, 1), (12, 1)])
def test_all_batches_are_of_one_size(make: Make, batch_size: int, steps: int) -> None:
    batches = make(0, batch_size)
    assert (batches.batch_size, batches.steps_per_epoch) == (batch_size, steps)
    assert [len(batch) for batch in raw(batches, 0)] == [batch_size] * steps


@BOTH
def test_views_are_a_function_of_seed_and_step(make: Make) -> None:
    batches = make(1)
    batch = next(iter(batches.epoch(0)))
    views = batches.views(batch, 7, TWO)
    assert len(views) == 2
    assert not torch.equal(*views)
    assert same(views, batches.views(batch, 7, TWO))
    assert same(views, make(1).views(batch, 7, TWO))
    assert not same(views, batches.views(batch, 8, TWO))
    assert not same(views, make(2).views(batch, 7, TWO))


@BOTH
def test_global_random_state_does_not_matter(make: Make) -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = torch.get_rng_state()
        batch = next(iter(make(1).epoch(0)))
        results.append([*batch, *make(1).views(batch, 0, TWO)])
        assert torch.equal(before, torch.get_rng_state())
    assert same(*results)


def test_both_kinds_see_the_images_in_the_same_order() -> None:
    images = np.arange(IMAGES, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    pixels = ImageBatches(load_images(open_source(images), 4), Views(ViewConfig(), 4), BATCH, 3)
    for batch, rows in zip(raw(pixels, 2), raw(feature_batches(3), 2), strict=True):
        assert batch[:, 0, 0, 0].tolist() == rows.tolist()


def test_features_belong_to_the_images_of_the_batch() -> None:
    batches = feature_batches(0)
    for step, batch in enumerate(batches.epoch(0)):
        for view in batches.views(batch, step, TWO):
            assert view.dtype == torch.float32
            assert view.shape == (BATCH, 2)
            assert view[:, 1].tolist() == batch[0].tolist()


@pytest.mark.parametrize("count", [2, 3, CACHED])
def test_no_cached_view_is_seen_twice_in_a_step(count: int) -> None:
    batches = feature_batches(0)
    rows = torch.arange(IMAGES)
    for step in range(20):
        chosen = torch.stack([view[:, 0] for view in batches.views((rows,), step, TWO[:1] * count)], dim=1)
        assert all(len(set(row)) == count for row in chosen.tolist())


def test_where_there_are_too_few_cached_views_all_are_seen() -> None:
    batches = FeatureBatches(feature_cache(2), plain_features(), BATCH, 0)
    views = batches.views((torch.arange(IMAGES),), 0, TWO[:1] * 3)
    chosen = torch.stack([view[:, 0] for view in views], dim=1)
    assert all(set(row) == {0, 1} for row in chosen.tolist())
    alone = FeatureBatches(feature_cache(1), plain_features(), BATCH, 0).views((torch.arange(IMAGES),), 0, TWO)
    assert torch.equal(*alone)


def test_every_cached_view_is_seen_about_as_often_as_any_other() -> None:
    batches = feature_batches(0)
    rows = torch.arange(IMAGES)
    seen = torch.cat([torch.cat(batches.views((rows,), step, TWO))[:, 0] for step in range(200)]).long()
    counts = torch.bincount(seen, minlength=CACHED) / len(seen)
    assert counts.min() > 0.9 / CACHED
    assert counts.max() < 1.1 / CACHED


def test_generators_of_steps_are_far_apart() -> None:
    seeds = {generator_of(seed, step).initial_seed() for seed in (0, 1, 2**63 - 1) for step in (*range(50), 10**9)}
    assert len(seeds) == 3 * 51
    # must never change: runs are resumed by it
    assert generator_of(0, 0).initial_seed() == 7896617691693857887


class TestNeighbors:
    nearest = np.array([[(row + 1) % IMAGES, (row + 2) % IMAGES] for row in range(IMAGES)])

    def test_the_second_view_is_of_a_neighbor(self) -> None:
        batches = FeatureBatches(feature_cache(), plain_features(), BATCH, 0, Neighbors(self.nearest, seed=1))
        for step, batch in enumerate(batches.epoch(0)):
            plain, first, second = batches.views(batch, step, ("plain", "augmented", "augmented"))
            assert plain[:, 0].tolist() == [100] * BATCH
            assert plain[:, 1].tolist() == first[:, 1].tolist() == batch[0].tolist()
            assert set(((second[:, 1] - first[:, 1]) % IMAGES).tolist()) <= {1, 2}
            assert (first[:, 0] != second[:, 0]).all()

    def test_images_and_features_have_the_same_neighbors(self) -> None:
        images = np.arange(IMAGES, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
        neighbors = Neighbors(self.nearest, seed=1)
        pixels = ImageBatches(load_images(open_source(images), 4), Views(ViewConfig(), 4), BATCH, 3, neighbors)
        features = FeatureBatches(feature_cache(), plain_features(), BATCH, 3, neighbors)
        for (images_, partners), rows in zip(pixels.epoch(2), features.epoch(2), strict=True):
            assert images_[:, 0, 0, 0].tolist() == rows[0].tolist()
            assert partners[:, 0, 0, 0].tolist() == rows[1].tolist()

    def test_they_are_drawn_anew_in_every_epoch_and_equally_often(self) -> None:
        neighbors = Neighbors(self.nearest, seed=1)
        drawn = np.stack([neighbors.drawn(epoch) for epoch in range(400)])
        assert np.array_equal(drawn[3], Neighbors(self.nearest, seed=1).drawn(3))
        assert not np.array_equal(drawn[3], Neighbors(self.nearest, seed=2).drawn(3))
        first = (drawn == self.nearest[:, 0]).mean()
        assert 0.48 < first < 0.52


def test_a_plain_view_is_the_image_itself() -> None:
    batches = image_batches(0)
    batch = next(batches.epoch(0))
    plain, _ = batches.views(batch, 0, ("plain", "augmented"))
    assert torch.equal((plain * 255).round().to(torch.uint8), batch[0])


def test_labels_stay_with_their_images():
    images = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    plain = ImageBatches(load_images(open_source(images), 8), Views(ViewConfig(), 8), batch_size=4, seed=5)
    batches = LabelledBatches(plain, np.arange(12) * 10)
    seen = [batch for epoch in (0, 1) for batch in batches.epoch(epoch)]
    assert all(torch.equal(pixels[:, 0, 0, 0] * 10, labels) for pixels, labels in seen)
    again = list(batches.epoch(1, skip=2))
    assert torch.equal(again[0][1], seen[-1][1])
    view, labels = batches.views(seen[0], 3, ("augmented",))
    assert torch.equal(view, *plain.views(seen[0][:1], 3, ("augmented",)))
    assert torch.equal(labels, seen[0][1])
