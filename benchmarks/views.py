"""How fast our views are, beside kornia's: `python benchmarks/views.py [--json FILE]`.

Both make the same kind of view (random resized crop, flip, colour jitter, greying) of the same uint8 batches in one
run, in turns, and the medians of all rounds are compared. Turning bytes into numbers is part of the work. kornia crops
in either of its ways, image by image (its default) or by one grid of samples for the batch, and the faster one at each
size is what ours is compared with. Ours is antialiased, kornia's is not.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# threads that spin while they wait make every figure depend on what else the machine does
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import kornia
import torch
from kornia import augmentation
from torch import Tensor, nn

from likewise import __version__
from likewise.views import ViewConfig, Views

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
            _wait(device)
            start = time.perf_counter()
            with torch.no_grad():
                pipeline(images)
            _wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def compare(rounds: int, device: str) -> list[dict[str, object]]:
    """A row for each size and precision: medians in microseconds an image, and how many times faster ours is."""
    rows: list[dict[str, object]] = []
    for size, batch in SHAPES.items():
        seconds = measure(size, batch, rounds, [torch.float32, torch.bfloat16], device)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        best = min((name for name in seconds if name.startswith(KORNIA)), key=lambda name: median[name])
        for name in (name for name in seconds if name.startswith(OURS)):
            # of each round its own ratio: what slowed the machine down slowed both down
            ratio = statistics.median(k / o for k, o in zip(seconds[best], seconds[name], strict=True))
            rows.append(
                {
                    "size": size,
                    "batch": batch,
                    "ours": name,
                    "microseconds_an_image": round(1e6 * median[name] / batch, 1),
                    "kornia": best,
                    "kornia_microseconds_an_image": round(1e6 * median[best] / batch, 1),
                    "times_faster": round(ratio, 2),
                }
            )
    return rows


def surroundings(device: str) -> dict[str, object]:
    """Machine, versions and commit."""
    return {
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "likewise": __version__,
        "torch": torch.__version__,
        "kornia": kornia.__version__,
        "commit": _commit(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def as_markdown(rows: list[dict[str, object]], around: dict[str, object]) -> str:
    """A table, and below it what it was measured on."""
    head = "| px | batch | ours | µs an image | kornia's faster way | µs an image | times faster |"
    lines = [head, "|---" * 7 + "|"]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in around.items())])


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each pipeline at each size")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; by default its own choice")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows, around = compare(args.rounds, args.device), surroundings(args.device)
    print(as_markdown(rows, around))
    if args.json:
        content = {"command": "benchmarks/views.py", "rounds": args.rounds, **around, "results": rows}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
