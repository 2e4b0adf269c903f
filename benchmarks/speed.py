"""Speed of contrastive training, from images to new weights, beside the lightly library and beside the machine's limit.

    python benchmarks/speed.py [--rounds 5] [--steps 1] [--batch 512] [--backbone resnet18] [--methods simclr moco]

On a GPU, if there is one; give it more steps a turn there, such as 50. Sides, in turns on the same images (32 px, uint8
in memory), backbone and batch:

* lightly as its documentation shows it: its transforms in DataLoader workers, its head and loss, fp32;
* the same with channels_last turned on by hand, and bf16 autocast where the machine has it;
* likewise as it runs by default;
* the limit: the best rate of several square matrix products, in bf16 where the machine has it and else in fp32, over
  the operations of a step as torch counts them. A yardstick, not a wall: convolutions of some shapes are faster.

One image means two views and its part of a step. Ratios and shares are medians of those within a round.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from likewise.training.machine import choose_machine
from turns import Side, Turns, Work, finish, processor_seconds, take_turns, wait_for

SIZE, CLASSES = 32, 10
EPOCH = 64  # batches
QUEUE = 4096
PRODUCTS = (2048, 4096)  # sides of the matrices
MACHINE = choose_machine()
DEVICE = MACHINE.device  # of all sides


def pictures(batch: int) -> torch.Tensor:
    """Images of noise: what they show changes the speed of none of the sides."""
    shape = (EPOCH * batch, 3, SIZE, SIZE)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def repeated(step: Callable[[], float], steps: int) -> Work:
    """A turn of so many steps, which ends when the device has done them."""

    def turn() -> float:
        figure = statistics.mean(step() for _ in range(steps))
        wait_for(DEVICE)
        return figure

    return turn


def bare_backbone(name: str) -> nn.Module:
    """A network of timm with the stem that is usual for 32 px."""
    import timm

    network: Any = timm.create_model(name, num_classes=0)
    network.conv1, network.maxpool = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False), nn.Identity()
    return network


class Pictures(torch.utils.data.Dataset[Any]):
    """The images one by one, as torchvision's CIFAR10 gives them."""

    def __init__(self, transform: Any, batch: int) -> None:
        self.images, self.transform = pictures(batch).permute(0, 2, 3, 1).numpy(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), 0


def lightly_side(method: str, backbone: str, batch: int, steps: int, tuned: bool) -> Work:
    """A step of lightly; `tuned` turns on channels_last, and bf16 autocast where the machine has it."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import MoCoV2Transform, SimCLRTransform

    moco = method == "moco"
    transform = (MoCoV2Transform if moco else SimCLRTransform)(input_size=SIZE, gaussian_blur=0.0)
    network = bare_backbone(backbone)
    width = int(network.num_features)  # type: ignore[arg-type]
    head: nn.Module = (MoCoProjectionHead if moco else SimCLRProjectionHead)(width, 512, 128)
    model = nn.Sequential(network, head).to(DEVICE)
    if tuned:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    keys = None
    if moco:
        import copy

        keys = copy.deepcopy(model)
        deactivate_requires_grad(keys)
    criterion = NTXentLoss(temperature=0.1, memory_bank_size=(QUEUE, 128) if moco else 0).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    workers = torch.get_num_threads()
    loader = torch.utils.data.DataLoader(
        Pictures(transform, batch),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        pin_memory=DEVICE == "cuda",
    )

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()

    def step() -> float:
        own, everything = time.process_time(), processor_seconds()
        first, second = (view.to(DEVICE, non_blocking=True) for view in next(batches)[0])
        if tuned:
            first, second = (view.contiguous(memory_format=torch.channels_last) for view in (first, second))
        with torch.autocast(DEVICE, torch.bfloat16, enabled=tuned and MACHINE.bf16):
            if keys is not None:
                update_momentum(model, keys, 0.99)
                with torch.no_grad():
                    key = keys(second)
                loss = criterion(model(first), key)
            else:
                loss = criterion(model(first), model(second))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        own, everything = time.process_time() - own, processor_seconds() - everything
        return 1 - own / everything

    return repeated(step, steps)


def likewise_side(method: str, backbone: str, batch: int, steps: int) -> Work:
    """A step of likewise with the settings that it chooses by itself."""
    from likewise.config import TrainingConfig
    from likewise.data import load_images, open_source
    from likewise.methods import METHODS
    from likewise.models import build_backbone
    from likewise.training.batches import ImageBatches
    from likewise.training.machine import adapt
    from likewise.training.plan import build_optimizer
    from likewise.views import ViewConfig, Views

    machine = MACHINE
    network = build_backbone(backbone, size=SIZE, small_stem=True)
    kind = METHODS["moco-v2" if method == "moco" else "simclr"][0]
    model = kind(network, network.num_features, CLASSES, kind.Config(queue_size=QUEUE)).train()
    adapt(model.to(machine.device), machine)
    optimizer = build_optimizer(model, TrainingConfig(learning_rate=0.06))
    store = load_images(open_source(pictures(batch).permute(0, 2, 3, 1).numpy()), SIZE)
    batches = ImageBatches(store, Views(ViewConfig(), SIZE, machine.dtype), batch, seed=0)
    raw = (images for epoch in range(10**9) for images in batches.epoch(epoch))
    taken = 0

    def step() -> float:
        nonlocal taken
        everything = time.process_time()
        images = tuple(part.to(machine.device, non_blocking=True) for part in next(raw))
        views = batches.views(images, taken, model.views)
        in_views = time.process_time() - everything
        with machine.autocast():
            loss = model.training_step(views)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step()
        taken += 1
        return in_views / (time.process_time() - everything)

    return repeated(step, steps)


def product_side() -> Work:
    """Matrix products; returns the operations a second of the size with the best rate."""
    pairs = [[torch.randn(size, size).to(DEVICE, MACHINE.dtype) for _ in range(2)] for size in PRODUCTS]

    def rate(one: torch.Tensor, other: torch.Tensor) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            one @ other
            wait_for(DEVICE)
            times.append(time.perf_counter() - start)
        return 2 * len(one) ** 3 / statistics.median(times)

    return lambda: max(rate(*pair) for pair in pairs)


def operations(method: str, backbone: str) -> float:
    """Floating-point operations that one image costs in a step, as `FlopCounterMode` counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    network = nn.Sequential(bare_backbone(backbone), nn.LazyLinear(512), nn.ReLU(), nn.Linear(512, 128))
    images = torch.rand(2, 3, SIZE, SIZE)
    network(images)  # the lazy layer learns its size
    with FlopCounterMode(display=False) as learning:
        network(images).sum().backward()
    with FlopCounterMode(display=False) as looking, torch.no_grad():
        network(images)
    one, key = learning.get_total_flops() / 2, looking.get_total_flops() / 2
    return one + key if method == "moco" else 2 * one


def rows_of(
    method: str, results: dict[str, Turns], images: int, each: float, rates: list[float]
) -> list[dict[str, object]]:
    """The table of one method.

    Args:
        method: Its name.
        results: By side.
        images: Of a turn.
        each: Operations that an image costs.
        rates: Operations a second of the limit in each round.
    """
    first, second = list(results.values())[:2]
    rows: list[dict[str, object]] = []
    for name, turns in results.items():
        shares = [images * each / seconds / rate for seconds, rate in zip(turns.seconds, rates, strict=True)]
        rows.append(
            {
                "method": method,
                "side": name,
                "images/s": round(images / turns.median, 1),
                "times the first": round(turns.times(first), 2),
                "times the second": round(turns.times(second), 2),
                "share of the limit": round(statistics.median(shares), 3),
                "processor time in views": f"{turns.figure or 0:.0%}",
                "peak GB": round(turns.peak_mb / 1e3, 1),
            }
        )
    limit: dict[str, object] = dict.fromkeys(rows[0], "")
    limit |= {"method": method, "side": "the limit", "images/s": round(statistics.median(rates) / each, 1)}
    return [*rows, limit]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--backbone", default="resnet18", help="a ResNet of timm")
    parser.add_argument("--methods", nargs="+", choices=["simclr", "moco"], default=["simclr", "moco"])
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    measured: dict[str, dict[str, Turns]] = {}
    by_hand = "bf16 and channels_last" if MACHINE.bf16 else "channels_last"
    for method in args.methods:
        work = (method, args.backbone, args.batch, args.steps)
        sides = {
            "lightly, fp32": Side(lightly_side, (*work, False)),
            f"lightly, {by_hand}": Side(lightly_side, (*work, True)),
            "likewise": Side(likewise_side, work),
            "product": Side(product_side),
        }
        results = take_turns(sides, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
        measured[method] = dict(results)
        rates = results.pop("product").figures
        rows += rows_of(method, results, args.batch * args.steps, operations(*work[:2]), rates)
    seen = [rate / 1e12 for results in measured.values() for rate in results["product"].figures]
    notes = (
        f"{args.backbone}, {SIZE} px, batch {args.batch}, medians of {args.rounds} turns of {args.steps} steps; ratios "
        "and shares are medians of those within a round. The limit is the best rate of square products with sides of "
        f"{' and '.join(map(str, PRODUCTS))} in {str(MACHINE.dtype).removeprefix('torch.')} ({min(seen):.2f} to "
        f"{max(seen):.2f} TFLOP/s in these rounds) over the operations of a step."
    )
    finish("speed", rows, notes, args.out, measured)


if __name__ == "__main__":
    main()
