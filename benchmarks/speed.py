"""Speed of contrastive training, from images to new weights, beside the lightly library and beside the machine's limit.

    python benchmarks/speed.py [--rounds 3] [--batch 512] [--backbone resnet18] [--methods simclr moco]

Sides, in turns on the same images (32 px, uint8 in memory), backbone and batch:

* lightly as its documentation shows it: its transforms in DataLoader workers, its head and loss, fp32;
* the same with bf16 autocast and channels_last turned on by hand;
* likewise as it runs by default;
* the limit: the rate of a large bf16 matrix product, over the operations of a step as torch counts them.

One image means two views and its part of a step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from turns import Side, Turns, Work, finish, processor_seconds, take_turns

SIZE, IMAGES, CLASSES = 32, 4096, 10
QUEUE = 4096


def pictures() -> torch.Tensor:
    """Images of noise: what they show changes the speed of none of the sides."""
    return torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).byte()


def bare_backbone(name: str) -> nn.Module:
    """A network of timm with the stem that is usual for 32 px."""
    import timm

    network: Any = timm.create_model(name, num_classes=0)
    network.conv1, network.maxpool = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False), nn.Identity()
    return network


class Pictures(torch.utils.data.Dataset[Any]):
    """The images one by one, as torchvision's CIFAR10 gives them."""

    def __init__(self, transform: Any) -> None:
        self.images, self.transform = pictures().permute(0, 2, 3, 1).numpy(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), 0


def lightly_side(method: str, backbone: str, batch: int, tuned: bool) -> Work:
    """A step of lightly; `tuned` turns on bf16 autocast and channels_last."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import MoCoV2Transform, SimCLRTransform

    moco = method == "moco"
    transform = (MoCoV2Transform if moco else SimCLRTransform)(input_size=SIZE, gaussian_blur=0.0)
    network = bare_backbone(backbone)
    width = int(network.num_features)  # type: ignore[arg-type]
    head: nn.Module = (MoCoProjectionHead if moco else SimCLRProjectionHead)(width, 512, 128)
    model = nn.Sequential(network, head)
    if tuned:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    keys = None
    if moco:
        import copy

        keys = copy.deepcopy(model)
        deactivate_requires_grad(keys)
    criterion = NTXentLoss(temperature=0.1, memory_bank_size=(QUEUE, 128) if moco else 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    workers = torch.get_num_threads()
    loader = torch.utils.data.DataLoader(
        Pictures(transform), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()

    def step() -> float:
        own, everything = time.process_time(), processor_seconds()
        (first, second), _ = next(batches)
        if tuned:
            first, second = (view.contiguous(memory_format=torch.channels_last) for view in (first, second))
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
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

    return step


def likewise_side(method: str, backbone: str, batch: int) -> Work:
    """A step of likewise with the settings that it chooses by itself."""
    from likewise.config import TrainingConfig
    from likewise.data import load_images, open_source
    from likewise.methods import METHODS
    from likewise.models import build_backbone
    from likewise.training.batches import ImageBatches
    from likewise.training.machine import choose_machine, keep_freed_memory
    from likewise.training.plan import build_optimizer
    from likewise.views import ViewConfig, Views

    machine = choose_machine()
    keep_freed_memory()
    network = build_backbone(backbone, size=SIZE, small_stem=True)
    kind = METHODS["moco-v2" if method == "moco" else "simclr"][0]
    model = kind(network, network.num_features, CLASSES, kind.Config(queue_size=QUEUE)).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, TrainingConfig(learning_rate=0.06))
    store = load_images(open_source(pictures().permute(0, 2, 3, 1).numpy()), SIZE)
    batches = ImageBatches(store, Views(ViewConfig(), SIZE, machine.dtype), batch, seed=0)
    raw = (images for epoch in range(10**9) for images in batches.epoch(epoch))
    taken = 0

    def step() -> float:
        nonlocal taken
        everything = time.process_time()
        views = batches.views(next(raw), taken, model.views)
        in_views = time.process_time() - everything
        with machine.autocast():
            loss = model.training_step(views)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step()
        taken += 1
        return in_views / (time.process_time() - everything)

    return step


def product_side(size: int) -> Work:
    """A matrix product; returns operations a second."""
    one, other = (torch.randn(size, size).bfloat16() for _ in range(2))

    def product() -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            one @ other
            times.append(time.perf_counter() - start)
        return 2 * size**3 / statistics.median(times)

    return product


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


def rows_of(method: str, results: dict[str, Turns], batch: int, each: float, rate: float) -> list[dict[str, object]]:
    """The table of one method."""
    slowest = next(iter(results.values()))
    rows: list[dict[str, object]] = []
    for name, turns in results.items():
        speed = batch / turns.median
        rows.append(
            {
                "method": method,
                "side": name,
                "images/s": round(speed, 1),
                "times the first": round(turns.times(slowest), 2),
                "share of the limit": round(speed * each / rate, 3),
                "processor time in views": f"{turns.figure or 0:.0%}",
                "peak GB": round(turns.peak_mb / 1e3, 1),
            }
        )
    rows.append({"method": method, "side": "the limit", "images/s": round(rate / each, 1)} | dict.fromkeys(rows[0], ""))
    rows[-1] |= {"method": method, "side": "the limit", "images/s": round(rate / each, 1)}
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--backbone", default="resnet18", help="a ResNet of timm")
    parser.add_argument("--methods", nargs="+", choices=["simclr", "moco"], default=["simclr", "moco"])
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    for method in args.methods:
        work = (method, args.backbone, args.batch)
        sides = {
            "lightly, fp32": Side(lightly_side, (*work, False)),
            "lightly, bf16 and channels_last": Side(lightly_side, (*work, True)),
            "likewise": Side(likewise_side, work),
            "product": Side(product_side, (4096,)),
        }
        results = take_turns(sides, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
        rate = results.pop("product").figure
        assert rate is not None
        rows += rows_of(method, results, args.batch, operations(*work[:2]), rate)
    notes = (
        f"{args.backbone}, {SIZE} px, batch {args.batch}, medians of {args.rounds} turns. The limit is the rate of a "
        f"4096x4096x4096 product in bf16 ({rate / 1e12:.2f} TFLOP/s in the last of these runs) over the operations of "
        "a step."
    )
    finish("speed", rows, notes, args.out)


if __name__ == "__main__":
    main()
