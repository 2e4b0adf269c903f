"""What each part of the fast path buys: a training step of CDC as it is, and with one part at a time turned off.

    python benchmarks/settings.py [--rounds 5] [--backbones resnet9 resnet18]

Sides take turns on the same work: views of the same uint8 batch, forward, backward, optimiser.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from torch import nn

from turns import Side, Work, finish, take_turns

SIZE, CLUSTERS = 32, 10
AS_IT_IS = "as it is"
PARTS = {
    "fp32": "bf16",
    "channels first": "channels_last",
    "ordinary convolutions": "packed convolutions",
    "memory given back": "freed memory kept",
}


def step_side(backbone: str, batch: int, without: str, compiled: bool = False) -> Work:
    """A step, without the part that is named so."""
    if without == "memory given back":
        os.environ["LIKEWISE_KEEP_MEMORY"] = "0"
    from likewise.config import TrainingConfig
    from likewise.methods.cdc import CDC, CDCConfig
    from likewise.models import build_backbone
    from likewise.training.batches import generator_of
    from likewise.training.machine import choose_machine, keep_freed_memory
    from likewise.training.plan import build_optimizer
    from likewise.views import ViewConfig, Views

    keep_freed_memory()
    machine = choose_machine("fp32" if without == "fp32" else "auto")
    network = build_backbone(backbone, size=SIZE, small_stem=True)
    if without == "ordinary convolutions":
        _unpack(network)
    method = CDC(network, network.num_features, CLUSTERS, CDCConfig()).train()
    if without != "channels first":
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        network.compile(dynamic=False)
    optimizer = build_optimizer(method, TrainingConfig(learning_rate=0.01))
    make = Views(ViewConfig(), SIZE, machine.dtype)
    images = torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8)

    def step() -> None:
        generator = generator_of(0, 0)
        views = tuple(make(images, generator) for _ in range(2))
        if without == "channels first":
            views = tuple(view.contiguous() for view in views)
        with machine.autocast():
            loss = method.training_step(views)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _unpack(network: nn.Module) -> None:
    from likewise.models.packed_conv import PackedConv2d

    for name, child in network.named_children():
        if isinstance(child, PackedConv2d):
            bias = child.bias is not None
            plain = nn.Conv2d(child.in_channels, child.out_channels, 3, child.stride, padding=1, bias=bias)  # type: ignore[arg-type]
            setattr(network, name, plain)
        else:
            _unpack(child)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--backbones", nargs="+", default=["resnet9", "resnet18"])
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes to start")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    for backbone in args.backbones:
        work = (backbone, args.batch)
        sides = {AS_IT_IS: Side(step_side, (*work, ""))} | {name: Side(step_side, (*work, name)) for name in PARTS}
        if args.compile:
            sides["with torch.compile"] = Side(step_side, (*work, "", True))
        results = take_turns(sides, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
        for name, turns in results.items():
            ratio = results[AS_IT_IS].times(turns)
            rows.append(
                {
                    "backbone": backbone,
                    "a step": name,
                    "images/s": round(args.batch / turns.median),
                    "so this makes it faster": "" if name not in PARTS else f"{PARTS[name]}: {ratio:.2f} times",
                    "peak GB": round(turns.peak_mb / 1e3, 2),
                }
            )
    notes = (
        f"CDC, in-batch frame, {SIZE} px, batch {args.batch}, medians of {args.rounds} turns; an image is two views."
    )
    finish("settings", rows, notes, args.out)


if __name__ == "__main__":
    main()
