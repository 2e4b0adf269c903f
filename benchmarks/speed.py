"""Speed of training and of assignment, each setting beside plain fp32 in one run: ratios, not absolute times.

    python benchmarks/speed.py [--rounds 5] [--json FILE]

Every row does the same work: one training step of CDC, views included, on the same uint8 batch; or the assignment of
the same images. The settings take turns, so that a machine that slows down slows all of them.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from likewise import __version__
from likewise.config import TrainingConfig
from likewise.methods.cdc import CDC, CDCConfig
from likewise.models import build_backbone
from likewise.models.packed_conv import PackedConv2d
from likewise.training.batches import generator_of
from likewise.training.machine import Machine, keep_freed_memory, machine_facts
from likewise.training.plan import build_optimizer
from likewise.views import ViewConfig, Views, plain_view

BATCH, SIZE = 256, 32


def unpacked(module: nn.Module) -> nn.Module:
    """The same network with ordinary convolutions."""
    for name, child in module.named_children():
        if isinstance(child, PackedConv2d):
            plain = nn.Conv2d(child.in_channels, child.out_channels, 3, padding=1, bias=False)
            setattr(module, name, plain)
        else:
            unpacked(child)
    return module


def training_step(backbone: str, machine: Machine, channels_last: bool, packed: bool = True) -> Callable[[], None]:
    """One step of CDC on random images: views, forward, backward, optimiser."""
    torch.manual_seed(0)
    built = build_backbone(backbone, "none", 3, SIZE, small_stem=True)
    method = CDC(built if packed else unpacked(built), built.num_features, 10, CDCConfig()).train()
    if channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if machine.compile:
        method.backbone.compile()
    optimizer = build_optimizer(method, TrainingConfig(learning_rate=0.01))
    views = Views(ViewConfig(), SIZE, machine.dtype)
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)

    def step() -> None:
        generator = generator_of(0, 0)
        pair = tuple(views(images, generator) for _ in range(2))
        if not channels_last:
            pair = tuple(view.contiguous() for view in pair)
        with machine.autocast():
            loss = method.training_step(pair)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step()

    return step


def assignment(backbone: str, machine: Machine, channels_last: bool) -> Callable[[], None]:
    """The clusters of a batch of images."""
    built = build_backbone(backbone, "none", 3, SIZE, small_stem=True)
    method = CDC(built, built.num_features, 10, CDCConfig()).eval()
    if channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)

    @torch.inference_mode()
    def step() -> None:
        pixels = plain_view(images, machine.dtype)
        with machine.autocast():
            method.assign(pixels if channels_last else pixels.contiguous())

    return step


def images_per_second(sides: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median speed of each side; the sides take turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, work in sides.items():
            start = time.perf_counter()
            work()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return {name: BATCH / statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure, print Markdown, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    plain = Machine("cpu", bf16=False, compile=False, reason="the side to compare with")
    fast = Machine("cpu", bf16=True, compile=False, reason="bf16 autocast")
    kept = keep_freed_memory()
    results: dict[str, dict[str, float]] = {}
    for backbone in ("resnet9", "resnet18"):
        results[f"training step, {backbone}"] = images_per_second(
            {
                "fp32": training_step(backbone, plain, channels_last=False, packed=False),
                "fp32, channels_last": training_step(backbone, plain, channels_last=True, packed=False),
                "bf16, channels_last": training_step(backbone, fast, channels_last=True, packed=False),
                "likewise": training_step(backbone, fast, channels_last=True),
            },
            arguments.rounds,
        )
        results[f"assignment, {backbone}"] = images_per_second(
            {"fp32": assignment(backbone, plain, False), "likewise": assignment(backbone, fast, True)}, arguments.rounds
        )
    facts = machine_facts(fast) | {"freed memory is kept": str(kept), "batch": str(BATCH), "size": f"{SIZE} px"}
    print(f"likewise {__version__}, {facts['processor']}, torch {facts['torch']}, batch {BATCH}, {SIZE} px\n")
    print("| work | setting | images/s | times fp32 |\n|---|---|---|---|")
    for work, speeds in results.items():
        for name, speed in speeds.items():
            print(f"| {work} | {name} | {speed:,.0f} | {speed / speeds['fp32']:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "images_per_second": results}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
