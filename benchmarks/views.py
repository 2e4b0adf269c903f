"""How fast our views are, beside kornia's: `python benchmarks/views.py`.

Both make the same kind of view (random resized crop, flip, colour jitter, greying) of the same uint8 batches in one
run, in turns, and the medians of all rounds are compared. Turning bytes into numbers is part of the work. kornia crops
in either of its ways, image by image (its default) or by one grid of samples for the batch, and the faster one at each
size is what ours is compared with. Ours is antialiased, kornia's is not.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

# threads that spin while they wait make every figure depend on what else the machine does
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from kornia import augmentation
from torch import Tensor, nn

from likewise.views import ViewConfig, Views
from turns import Turns, finish, wait_for

SHAPES = {32: 512, 96: 128, 224: 32}  # side of images and views in pixels: images in a batch
OURS, KORNIA = "likewise", "kornia"


def likewise_views(size: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Our pipeline."""
    make, generator = Views(ViewConfig(), size, dtype), torch.Generator().manual_seed(0)
    return lambda images: make(images, generator)


def kornia_views(size: int, mode: str) -> Callable[[Tensor], Tensor]:
    """kornia's pipeline with the same settings, each image with its own draws.

    Args:
        size: Side of the views in pixels.
        mode: How it crops: `"slice"`, image by image, or `"resample"`, the batch at once.
    """
    config = ViewConfig()
    colors = (config.brightness, config.contrast, config.saturation, config.hue)
    pipeline = nn.Sequential(
        augmentation.RandomResizedCrop(
            (size, size), scale=config.crop_scale, ratio=config.crop_ratio, cropping_mode=mode
        ),
        augmentation.RandomHorizontalFlip(p=config.flip),
        augmentation.ColorJitter(*colors, p=config.jitter),
        augmentation.RandomGrayscale(p=config.grey),
    )
    return lambda images: pipeline(images.float() / 255)


def measure(size: int, batch: int, rounds: int, dtypes: list[torch.dtype], device: str) -> dict[str, list[float]]:
    """Seconds of each round by name of the pipeline.

    Args:
        size: Side of the images and of the views in pixels.
        batch: Images in a batch.
        rounds: How often each pipeline runs after a first run that is not counted.
        dtypes: Precisions of our pipeline; kornia runs in float32.
        device: Where the images lie and the work is done.
    """
    images = torch.randint(0, 256, (batch, 3, size, size), generator=torch.Generator().manual_seed(1)).byte().to(device)
    pipelines = {f"{OURS} {str(dtype).removeprefix('torch.')}": likewise_views(size, dtype) for dtype in dtypes}
    pipelines |= {f"{KORNIA} {mode}": kornia_views(size, mode) for mode in ("slice", "resample")}
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for turn in range(rounds + 1):
        for name, pipeline in pipelines.items():
            wait_for(device)
            start = time.perf_counter()
            with torch.no_grad():
                pipeline(images)
            wait_for(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(measured: dict[int, dict[str, list[float]]]) -> list[dict[str, object]]:
    """A row for each size and precision: medians in microseconds an image, and how many times faster ours is."""
    rows: list[dict[str, object]] = []
    for size, seconds in measured.items():
        batch = SHAPES[size]
        median = {name: statistics.median(values) for name, values in seconds.items()}
        best = min((name for name in seconds if name.startswith(KORNIA)), key=lambda name: median[name])
        for name in (name for name in seconds if name.startswith(OURS)):
            # of each round its own ratio: what slowed the machine down slowed both down
            ratio = statistics.median(k / o for k, o in zip(seconds[best], seconds[name], strict=True))
            rows.append(
                {
                    "px": size,
                    "batch": batch,
                    "ours": name,
                    "µs an image": round(1e6 * median[name] / batch, 1),
                    "kornia": best,
                    "kornia's µs an image": round(1e6 * median[best] / batch, 1),
                    "times faster": round(ratio, 2),
                }
            )
    return rows


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each pipeline at each size")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; by default its own choice")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    notes = f"Medians of {args.rounds} rounds; kornia in the faster of its two ways."
    measured = {
        size: measure(size, batch, args.rounds, [torch.float32, torch.bfloat16], args.device)
        for size, batch in SHAPES.items()
    }
    turns = {
        f"{size} px": {name: Turns(values, [], 0.0) for name, values in seconds.items()}
        for size, seconds in measured.items()
    }
    finish("views", compare(measured), notes, args.out, turns)


if __name__ == "__main__":
    main()
