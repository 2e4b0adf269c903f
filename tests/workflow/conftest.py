"""A set of images in four unmistakable groups, as a folder with a class in each subfolder."""

from pathlib import Path

import numpy as np
import pytest
from patterns import CLASSES, picture
from PIL import Image


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures, 60 of each kind, in a folder whose name is not easy either."""
    folder = tmp_path_factory.mktemp("data") / "mis fotos 'ñ'"
    generator = np.random.default_rng(0)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for number in range(60):
            Image.fromarray(picture(kind, generator)).save(folder / kind / f"{number:03d} é.png")
    return folder
