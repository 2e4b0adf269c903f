"""From a recipe to what it describes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.assembly import image_store
from likewise.config import DataConfig
from likewise.data import ImageSource, load_images, open_source


@pytest.fixture
def source(tmp_path: Path) -> ImageSource:
    """Two grey JPEG files of 64 px."""
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / name)
    return open_source(tmp_path)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("memory", [1e-9, 1.0])
def test_images_are_decoded_as_the_recipe_says(scaled: bool, memory: float, source: ImageSource) -> None:
    store = image_store(source, DataConfig(image_size=8, memory_gb=memory, scaled_decoding=scaled, channels=1))
    expected = load_images(source, 8, scaled_decoding=scaled, channels=1)
    assert store.in_memory == (memory == 1.0)
    assert torch.equal(store.read(slice(0, 2)), expected.read(slice(0, 2)))


@pytest.mark.parametrize(("own", "needed", "channels"), [(0, 0, 1), (0, 3, 3), (1, 3, 1), (3, 0, 3)])
def test_channels(own: int, needed: int, channels: int, source: ImageSource) -> None:
    assert image_store(source, DataConfig(image_size=8, channels=own), channels=needed).channels == channels
