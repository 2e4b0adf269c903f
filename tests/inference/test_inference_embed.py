"""Close calls: bf16 answers for most images, float32 for those between two clusters."""

import sys

import numpy as np
import pytest
import torch

from likewise.assembly import Network, build_network
from likewise.data import ImageStore, load_images, open_source
from likewise.defaults import with_model
from likewise.inference import Embedded, decide_close_calls, embed
from likewise.recipe_book import make_recipe
from likewise.training.machine import Machine

FP32, BF16 = (Machine("cpu", bf16=bf16, compile=False, reason="test") for bf16 in (False, True))
IMAGES = 45


@pytest.fixture
def store() -> ImageStore:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)
    return load_images(open_source(pixels), 16)


@pytest.fixture
def network(store: ImageStore) -> Network:
    torch.manual_seed(0)
    given = {"method.num_clusters": 3, "data.channels": 3}
    return build_network(with_model(make_recipe(None, given, []), store.source))


def copied(embedded: Embedded) -> Embedded:
    return Embedded(*(values.copy() for values in embedded))


def test_close_calls_are_decided_until_none_changes(
    network: Network, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[decide_close_calls.__module__], "LEAST_CLOSE", 1)
    rounded, exact = embed(network, store, BF16), embed(network, store, FP32)
    # the closest calls would go otherwise in float32
    ranked = np.sort(rounded.categorical, axis=1)
    order = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")
    rounded.categorical[order[:3]] = -exact.categorical[order[:3]]
    ranked = np.sort(rounded.categorical, axis=1)
    order = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")
    decided = copied(rounded)
    decide_close_calls(network, store, BF16, decided)
    again = np.flatnonzero((decided.features != rounded.features).any(axis=1))
    count = len(again)
    assert count % 2 == 0 or count == IMAGES, "two images at a time"
    assert set(again) == set(order[:count]), "in the order of their margins"
    for own, coarse, fine in zip(decided, rounded, exact, strict=True):
        np.testing.assert_allclose(own[order[:count]], fine[order[:count]], rtol=1e-4, atol=1e-5)
        assert np.array_equal(own[order[count:]], coarse[order[count:]])
    changed = rounded.categorical.argmax(axis=1) != exact.categorical.argmax(axis=1)
    if count < IMAGES:
        assert not changed[order[count - 2 : count]].any(), "the last look changed nothing"
    assert changed[order[: count - 2]].reshape(-1, 2).any(axis=1).all(), "and each before it something"


def test_float32_is_left_alone(network: Network, store: ImageStore) -> None:
    exact = embed(network, store, FP32)
    decided = copied(exact)
    decide_close_calls(network, store, FP32, decided)
    assert all(np.array_equal(own, before) for own, before in zip(decided, exact, strict=True))


def test_of_few_images_all_are_decided_in_float32(network: Network, store: ImageStore) -> None:
    store = store.part(np.arange(30))
    decided, exact = embed(network, store, BF16), embed(network, store, FP32)
    decide_close_calls(network, store, BF16, decided)
    np.testing.assert_allclose(decided.categorical, exact.categorical, rtol=1e-4, atol=1e-5)


def test_images_that_are_gone_meanwhile_keep_their_answers(
    network: Network, store: ImageStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounded = embed(network, store, BF16)
    decided = copied(rounded)
    monkeypatch.setattr(ImageStore, "batches", lambda *_: iter(()))
    decide_close_calls(network, store, BF16, decided)
    assert all(np.array_equal(own, before) for own, before in zip(decided, rounded, strict=True))
    assert "stay as bf16 decided" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1])
def test_few_images(count: int, network: Network, store: ImageStore) -> None:
    part = store.part(np.arange(count))
    decided = embed(network, store.part(np.arange(1)), BF16)
    decided = Embedded(*(values[:count] for values in decided))
    decide_close_calls(network, part, BF16, decided)
    if count:
        np.testing.assert_allclose(decided.features, embed(network, part, FP32).features, rtol=1e-5)
