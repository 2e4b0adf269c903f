"""JPEG files for benchmarks that start from files, so that anyone can run them without a data set."""

from pathlib import Path

import numpy as np

WIDTH, HEIGHT = 500, 375
KINDS = 10
WORDS = f"{WIDTH}x{HEIGHT} px of smooth colours of {KINDS} kinds with fine noise, JPEG quality 85"


def write_pictures(folder: Path, count: int) -> None:
    """Files that take a decoder as long as photos do, in one folder for a class, as torchvision's ImageFolder wants."""
    from PIL import Image

    rng = np.random.default_rng(0)
    (folder / "all").mkdir(parents=True)
    kinds = rng.integers(0, 256, (KINDS, 8, 10, 3))
    for number in range(count):
        own = 0.7 * kinds[number % KINDS] + 0.3 * rng.integers(0, 256, kinds.shape[1:])
        small = Image.fromarray(own.astype(np.uint8))
        smooth = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "all" / f"{number:06d}.jpg", quality=85)
