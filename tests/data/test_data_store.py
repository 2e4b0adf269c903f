"""What training and inference read."""

import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.data import ImageSource, ImageStore, UnreadableImage, load_images, open_source, shuffled_batches
from likewise.data.store import FEW, PREFETCHED_BATCHES
from likewise.data.threads import ordered_map
from likewise.errors import InputError, RunError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """37 noisy colour images, and three that cannot be opened."""
    rng = np.random.default_rng(0)
    for index in range(37):
        shape = (int(rng.integers(12, 30)), int(rng.integers(12, 30)), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{index:02}.png")
    for name in ("05-bad.png", "20-bad.jpg", "99-bad.gif"):
        (tmp_path / name).write_bytes(b"bad")
    return tmp_path


class Counting(ImageSource):
    """Images whose grey value is their index, modulo 256; some break after they were checked."""

    kind, spec = "memory", ""

    def __init__(self, count: int, delay: float = 0.0) -> None:
        self.names = [str(index) for index in range(count)]
        self.delay, self.broken, self.reads, self.lock = delay, set[int](), 0, threading.Lock()

    def read(self, index: int, size: int) -> np.ndarray:
        with self.lock:
            self.reads += 1
        time.sleep(self.delay)
        if index in self.broken:
            raise UnreadableImage("is cut short")
        return np.full((size, size, 3), index % 256, np.uint8)

    def shape(self, index: int) -> tuple[int, int]:
        return (8, 8)

    def digest(self) -> str:
        return "sha256:0"


def both(source: ImageSource, **options: Any) -> tuple[ImageStore, ImageStore]:
    return load_images(source, 8, **options), load_images(source, 8, memory_bytes=0, workers=3, **options)


def test_streaming_gives_what_memory_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory, stream = both(open_source(folder))
    assert "3 of 40 images cannot be read and are left out: 05-bad.png is not an image" in capsys.readouterr().err
    assert (memory.in_memory, stream.in_memory) == (True, False)
    assert len(memory) == len(stream) == 37
    assert memory.names == stream.names == [f"{index:02}.png" for index in range(37)]
    assert memory.skipped == stream.skipped
    assert [image.name for image in memory.skipped] == ["05-bad.png", "20-bad.jpg", "99-bad.gif"]
    assert memory.indices.tolist() == stream.indices.tolist() == [i for i in range(40) if i not in (5, 21, 39)]
    for rows in (slice(None), slice(3, 30, 4), np.array([36, 0, 5, 5]), np.array([], dtype=np.int64)):
        assert torch.equal(memory.read(rows), stream.read(rows))
    for (rows, images), (other_rows, others) in zip(memory.batches(10), stream.batches(10), strict=True):
        assert rows.tolist() == other_rows.tolist()
        assert images.dtype == torch.uint8
        assert torch.equal(images, others)
    for pair in zip(memory.training_batches(8, 1, 2), stream.training_batches(8, 1, 2), strict=True):
        assert torch.equal(*pair)


def test_read_matches_the_source(folder: Path) -> None:
    store = load_images(open_source(folder), 8)
    for row in (0, 7, 36):
        expected = store.source.read(int(store.indices[row]), 8).transpose(2, 0, 1)
        np.testing.assert_array_equal(store.read(np.array([row]))[0].numpy(), expected)


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30])
def test_strict_names_the_first(folder: Path, memory_bytes: int) -> None:
    with pytest.raises(InputError, match=r"^05-bad\.png is not an image"):
        load_images(open_source(folder), 8, strict=True, memory_bytes=memory_bytes)


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for memory_bytes in (0, 1 << 30):
        with pytest.raises(InputError, match=r"none of the 1 images can be read; a\.png is empty"):
            load_images(open_source(tmp_path), 8, memory_bytes=memory_bytes)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 8, "workers": 0}, {"size": 8, "channels": 2}])
def test_arguments_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be 1"):
        load_images(Counting(3), **options)  # type: ignore[arg-type]


def test_memory_limit_is_exact() -> None:
    assert load_images(Counting(10), 8, memory_bytes=10 * 3 * 64).in_memory
    assert not load_images(Counting(10), 8, memory_bytes=10 * 3 * 64 - 1).in_memory
    assert load_images(Counting(10), 8, memory_bytes=10 * 64, channels=1).in_memory
    assert not load_images(Counting(10), 8, memory_bytes=10 * 64 - 1, channels=1).in_memory


def test_what_has_vanished_since_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    for index in range(4):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index}.png")
    memory, stream = both(open_source(tmp_path))
    (tmp_path / "2.png").unlink()
    wanted = np.array([3, 2, 0])
    for store, left in ((memory, [3, 2, 0]), (stream, [3, 0])):
        rows, images = store.read_those_left(wanted)
        assert rows.tolist() == images[:, 0, 0, 0].tolist() == left
    assert [skipped.name for skipped in stream.skipped] == ["2.png"]
    rows, images = stream.read_those_left(wanted[1:2])
    assert (len(rows), len(images)) == (0, 0)


def test_training_says_once_that_images_are_decoded_in_every_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    store = load_images(Counting(FEW + 1), 64, memory_bytes=0, channels=1)
    assert len(list(store.batches(50))) == 6
    assert capsys.readouterr().err == ""  # once over all images is no epoch
    for epoch in range(2):
        next(store.training_batches(8, 0, epoch))
    said = capsys.readouterr().err
    assert said.count("in every epoch") == 1
    assert "257 images at 64 px need 0.00098 GB, more than" in said
    assert "--set data.memory_gb=1 keeps them" in said


@pytest.mark.parametrize(("count", "memory_bytes"), [(FEW, 0), (FEW + 1, 1 << 30)])
def test_training_says_nothing_where_decoding_costs_little(
    count: int, memory_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    next(load_images(Counting(count), 4, memory_bytes=memory_bytes).training_batches(8, 0, 0))
    assert capsys.readouterr().err == ""


def test_channels(folder: Path) -> None:
    assert load_images(Counting(10), 8).channels == 1
    assert load_images(Counting(10), 8, memory_bytes=0).channels == 3
    assert load_images(open_source(folder), 8).channels == 3
    for store in both(Counting(10), channels=3):
        assert store.read(slice(None)).shape == (10, 3, 8, 8)
    for store in both(Counting(256), channels=1):
        images = store.read(slice(None))
        assert images.shape == (256, 1, 8, 8)
        assert images[:, 0, 0, 0].tolist() == list(range(256))  # grey comes through unchanged


def test_colour_as_one_channel_is_luma() -> None:
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[...] = (200, 100, 50)
    assert load_images(open_source(image), 4, channels=1).read(slice(0, 1)).unique().tolist() == [124]


def test_indices_are_those_of_images_that_can_be_read() -> None:
    images = np.zeros((5, 4, 4), np.float32)
    images[2] = np.nan
    source = open_source([(image, label) for image, label in zip(images, range(5), strict=True)])
    store = load_images(source, 4)
    assert store.indices.tolist() == [0, 1, 3, 4]


def breaking(**options: Any) -> ImageStore:
    """A streaming store of 12 images, of which 2, 3 and 8 break after the check."""
    source = Counting(12)
    store = load_images(source, 4, memory_bytes=0, **options)
    source.broken = {2, 3, 8}
    return store


def test_image_that_breaks_later_is_left_out_of_batches(capsys: pytest.CaptureFixture[str]) -> None:
    store = breaking()
    for _ in range(2):
        rows, images = zip(*store.batches(4), strict=True)
        assert [batch.tolist() for batch in rows] == [[0, 1], [4, 5, 6, 7], [9, 10, 11]]
        assert torch.cat(images)[:, 0, 0, 0].tolist() == [0, 1, 4, 5, 6, 7, 9, 10, 11]
    assert [(image.name, image.reason) for image in store.skipped] == [(n, "is cut short") for n in ("2", "3", "8")]
    assert capsys.readouterr().err.count("going on without it") == 3


def test_image_that_breaks_later_is_replaced_in_training() -> None:
    store = breaking()
    given = [batch[:, 0, 0, 0].tolist() for batch in store.training_batches(4, seed=3, epoch=0)]
    for rows, values in zip(shuffled_batches(12, 4, 3, 0), given, strict=True):
        readable = [row for row in rows.tolist() if row not in (2, 3, 8)]
        assert len(values) == 4
        assert set(values) == set(readable)
        assert all(value == row for value, row in zip(values, rows, strict=True) if row not in (2, 3, 8))
    assert len(store.skipped) == 3


def test_image_that_breaks_later_stops_reading_and_strict_stores() -> None:
    with pytest.raises(RunError, match="3 is cut short, though its header"):
        breaking().read(np.array([0, 3]))
    with pytest.raises(RunError, match="2 is cut short"):
        list(breaking(strict=True).batches(4))
    with pytest.raises(RunError, match="is cut short"):
        list(breaking(strict=True).training_batches(4, 0, 0))


def test_whole_batch_that_breaks_stops_training() -> None:
    source = Counting(4)
    store = load_images(source, 4, memory_bytes=0)
    source.broken = {0, 1, 2, 3}
    with pytest.raises(RunError, match="none of the 4 images of a batch"):
        next(store.training_batches(4, 0, 0))
    assert list(store.batches(2)) == []


def test_streaming_works_ahead_by_a_fixed_number() -> None:
    source = Counting(400)
    store = load_images(source, 4, memory_bytes=0, workers=4)
    batches = store.batches(10)
    next(batches)
    time.sleep(0.2)
    assert 10 < source.reads <= 10 + PREFETCHED_BATCHES * 10
    threads = threading.active_count()
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= threads - 4


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that were in use at once, at most, beyond those before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)


def test_loading_takes_little_more_than_the_images() -> None:
    pixels = noise(300)
    source = open_source(pixels)
    assert peak_of(lambda: load_images(source, 40)) < 1.3 * pixels.nbytes


def test_streaming_takes_the_same_memory_for_any_number_of_images() -> None:
    few, many = (load_images(open_source(noise(count)), 40, memory_bytes=0, workers=2) for count in (150, 900))
    peaks = [peak_of(lambda s=s: [len(batch) for batch in s.training_batches(10, 0, 0)]) for s in (few, few, many)]
    assert peaks[2] < 1.3 * peaks[1]  # the first one also counts what is imported on the way
    assert peaks[2] < noise(900).nbytes / 8


def test_streaming_reads_in_parallel() -> None:
    store = load_images(Counting(64, delay=0.02), 4, memory_bytes=0, workers=16)
    start = time.monotonic()
    store.read(slice(None))
    assert time.monotonic() - start < 64 * 0.02 / 2


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(*arguments: int) -> list[list[int]]:
        return [rows.tolist() for rows in shuffled_batches(*arguments)]

    assert order(100, 8, 0, 0) == order(100, 8, 0, 0)
    orders = [order(100, 8, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({str(one) for one in orders}) == 9
    rows = [row for batch in orders[0] for row in batch]
    assert len(rows) == len(set(rows)) == 96
    assert set(rows) < set(range(100))
    assert order(10, 5, 7, 3) == [[2, 5, 9, 7, 3], [0, 6, 8, 4, 1]]  # must never change: runs are resumed by it


@pytest.mark.parametrize("batch_size", [0, 11])
def test_batch_that_cannot_be_filled(batch_size: int) -> None:
    with pytest.raises(InputError, match="use a batch size of 1 to 10"):
        shuffled_batches(10, batch_size, 0, 0)


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30])
def test_training_goes_on_within_an_epoch(memory_bytes: int) -> None:
    store = load_images(Counting(50), 4, memory_bytes=memory_bytes)
    whole = list(store.training_batches(8, 5, 1))
    rest = list(store.training_batches(8, 5, 1, skip=4))
    assert (len(whole), len(rest)) == (6, 2)
    assert all(torch.equal(*pair) for pair in zip(whole[4:], rest, strict=True))
    assert not torch.equal(whole[0], next(store.training_batches(8, 5, 2)))


def test_training_takes_its_batches_from_the_device_that_has_a_copy() -> None:
    store = load_images(Counting(40), 4)
    expected = list(store.training_batches(8, 5, 1, choose=lambda rows: rows[::2]))
    store.copy_to("cpu")
    copied = list(store.training_batches(8, 5, 1, choose=lambda rows: rows[::2]))
    assert all(torch.equal(*pair) for pair in zip(expected, copied, strict=True))
    assert store.memory_bytes == 40 * 4 * 4, "they are grey"
    store.copy_to("meta")  # the one device beside the processor that is everywhere
    assert [(batch.device.type, batch.shape) for batch in store.training_batches(16, 5, 1)] == [
        ("meta", (16, 1, 4, 4)),
        ("meta", (16, 1, 4, 4)),
    ]
    assert store.read(slice(0, 2)).device.type == "cpu", "all else reads them where they were"


def test_images_that_are_not_in_memory_are_on_no_device() -> None:
    with pytest.raises(RunError, match="decoded anew in every epoch"):
        load_images(Counting(4), 4, memory_bytes=0).copy_to("cpu")


def test_ordered_map_raises_in_its_place_and_stops() -> None:
    results = ordered_map(lambda value: 1 // value, [1, 1, 0, 1], workers=2, ahead=3)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_images_that_are_decoded_in_full(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    source = open_source(tmp_path)
    quick, full = (list(both(source, scaled_decoding=scaled)) for scaled in (True, False))
    for kept, streamed in (quick, full):
        assert torch.equal(kept.read(slice(0, 2)), streamed.read(slice(0, 2)))
    assert not torch.equal(quick[0].read(slice(0, 2)), full[0].read(slice(0, 2)))
    assert full[0].source.digest() == source.digest()
    assert torch.equal(load_images(source, 8).read(slice(0, 2)), quick[0].read(slice(0, 2)))  # left as it was
