"""What each part of the fast path buys: a training step of CDC as it is, and with one part at a time turned off.

    python benchmarks/settings.py [--rounds 5] [--backbones resnet9 resnet18]

On a GPU, if there is one. Sides take turns on the same work: views of the same uint8 batch, forward, backward,
optimiser. Parts that the machine does not have, such as packed convolutions without a matrix unit, are left out.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from turns import Side, Turns, Work, finish, take_turns, wait_for

SIZE, CLUSTERS = 32, 10
AS_IT_IS = "as it is"
PARTS = {
    "fp32": "bf16",
    "channels first": "channels_last",
    "ordinary convolutions": "packed convolutions",
    "memory given back": "freed memory kept",
    "without kernels.cpp": "fused norms, pooling",
    "not compiled": "torch.compile",
}


def parts() -> dict[str, str]:
    """The parts of this machine's fast path, by what a step without one is called."""
    from likewise.models.kernels import load_kernels
    from likewise.models.packed_conv import TILED_TYPES
    from likewise.training.machine import choose_machine

    machine = choose_machine()
    on_processor = machine.device == "cpu"
    there = {
        "fp32": machine.bf16,
        "ordinary convolutions": on_processor and machine.dtype in TILED_TYPES,
        "memory given back": on_processor,
        "without kernels.cpp": on_processor and load_kernels() is not None,
        "not compiled": machine.compile,
    }
    return {name: part for name, part in PARTS.items() if there.get(name, True)}


def step_side(backbone: str, batch: int, without: str, compiled: bool = False) -> Work:
    """A step, without the part that is named so."""
    if without == "memory given back":
        os.environ["LIKEWISE_KEEP_MEMORY"] = "0"
    if without == "without kernels.cpp":
        os.environ["LIKEWISE_KERNELS"] = "0"
    from likewise.config import TrainingConfig
    from likewise.methods.cdc import CDC, CDCConfig
    from likewise.models import build_backbone
    from likewise.training.batches import generator_of
    from likewise.training.machine import adapt, choose_machine
    from likewise.training.plan import build_optimizer
    from likewise.views import ViewConfig, Views

    machine = choose_machine("fp32" if without == "fp32" else "auto")
    machine = replace(machine, compile=compiled or (machine.compile and without != "not compiled"))
    network = build_backbone(backbone, size=SIZE, small_stem=True)
    if without == "ordinary convolutions":
        _unpack(network)
    method = CDC(network, network.num_features, CLUSTERS, CDCConfig()).train().to(machine.device)
    adapt(method, machine)
    if without == "channels first":
        method.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = build_optimizer(method, TrainingConfig(learning_rate=0.01))
    make = Views(ViewConfig(), SIZE, machine.dtype)
    images = torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8).to(machine.device)

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
        wait_for(machine.device)

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
    measured: dict[str, dict[str, Turns]] = {}
    there = parts()
    for backbone in args.backbones:
        work = (backbone, args.batch)
        sides = {AS_IT_IS: Side(step_side, (*work, ""))} | {name: Side(step_side, (*work, name)) for name in there}
        if args.compile and "not compiled" not in there:
            sides["with torch.compile"] = Side(step_side, (*work, "", True))
        results = take_turns(sides, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
        measured[backbone] = results
        for name, turns in results.items():
            ratio = results[AS_IT_IS].times(turns)
            rows.append(
                {
                    "backbone": backbone,
                    "a step": name,
                    "images/s": round(args.batch / turns.median),
                    "so this makes it faster": "" if name not in there else f"{PARTS[name]}: {ratio:.2f} times",
                    "peak GB": round(turns.peak_mb / 1e3, 2),
                }
            )
    notes = (
        f"CDC, in-batch frame, {SIZE} px, batch {args.batch}, medians of {args.rounds} turns; an image is two views."
    )
    finish("settings", rows, notes, args.out, measured)


if __name__ == "__main__":
    main()
