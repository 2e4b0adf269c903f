"""From JPEG files to uint8 batches, beside torchvision's ImageFolder in a DataLoader.

    python benchmarks/decoding.py [--images 2000] [--rounds 3] [--sizes 224 96] [--data FOLDER]

A turn reads every image once. likewise is measured twice: as it opens a folder, which decodes every image and keeps it
as uint8, and in a later epoch, which reads from memory. A DataLoader decodes in every epoch. Without `--data` the files
are made first: 500x375 px of smooth colours with fine noise on top, at JPEG quality 85 about as long as photos.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from turns import Side, Work, finish, take_turns

BATCH = 256


def write_pictures(folder: Path, count: int) -> None:
    """Files that take a decoder as long as photos do."""
    from PIL import Image

    rng = np.random.default_rng(0)
    (folder / "all").mkdir(parents=True)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "all" / f"{number:06d}.jpg", quality=85)


def folder_side(folder: Path, size: int) -> Work:
    """An epoch of a DataLoader over an ImageFolder."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    transform: Any = Compose([Resize(size), CenterCrop(size), PILToTensor()])
    workers = torch.get_num_threads()
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(folder), transform), BATCH, num_workers=workers, persistent_workers=True
    )

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def opening_side(folder: Path, size: int) -> Work:
    """Opening the folder: every image is decoded and kept."""
    from likewise.data import load_images, open_source

    def epoch() -> None:
        load_images(open_source(folder), size, memory_bytes=2**36)

    return epoch


def memory_side(folder: Path, size: int) -> Work:
    """An epoch of an opened folder."""
    from likewise.data import load_images, open_source

    store = load_images(open_source(folder), size, memory_bytes=2**36)
    every = max(len(store) // 8, 1)  # so that no remainder is left out

    def epoch() -> None:
        for _ in store.training_batches(every, seed=0, epoch=0):
            pass

    return epoch


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="how many to make")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 96], help="sides to decode to, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--data", type=Path, help="a folder with one folder a class, as ImageFolder wants it")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.data or Path(temporary)
        if args.data is None:
            write_pictures(folder, args.images)
        count = sum(path.is_file() for path in folder.rglob("*"))
        for size in args.sizes:
            sides = {
                "ImageFolder and DataLoader": Side(folder_side, (folder, size)),
                "likewise, first epoch": Side(opening_side, (folder, size)),
                "likewise, later epochs": Side(memory_side, (folder, size)),
            }
            results = take_turns(sides, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
            first = results["ImageFolder and DataLoader"]
            for name, turns in results.items():
                speed = {"images/s": round(count / turns.median), "times the first": round(turns.times(first), 2)}
                rows.append({"px": size, "side": name} | speed | {"peak GB": round(turns.peak_mb / 1e3, 2)})
    finish("decoding", rows, f"{count:,} JPEG files, medians of {args.rounds} turns.", args.out)


if __name__ == "__main__":
    main()
