"""From image files to clusters by a finished run, beside a plain loop over a timm model.

    python benchmarks/assignment.py RUN FOLDER [--rounds 3]

RUN is a run directory with a timm backbone, FOLDER holds images in one folder a class. Each turn starts from the files
and ends with the cluster of every image. The plain loop is what one writes by hand: torchvision's transforms in a
DataLoader, the network of the run in fp32, argmax. "Same cluster" is the share of images that the run's network puts
into the same cluster in fp32, without any change, from the same pixels. A second table leaves out the reading of files:
from pixels in memory to features and clusters.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from turns import Side, Turns, Work, finish, take_turns

BATCH = 32  # at which the plain loop is at its fastest on two cores; likewise chooses for itself


def loop_side(run: Path, folder: Path) -> Work:
    """The loop that one writes by hand."""
    from torchvision.datasets import ImageFolder

    recipe, network, _ = _opened(run)
    transform = _transform(recipe.data.image_size)
    workers = torch.get_num_threads()
    network.eval()

    def turn() -> None:
        loop(network, ImageFolder(str(folder), transform), workers)

    return turn


def loop(network: Any, images: Any, workers: int) -> torch.Tensor:
    """The cluster of each image of a data set of torchvision."""
    loader = torch.utils.data.DataLoader(images, BATCH, num_workers=workers)
    with torch.inference_mode():
        return torch.cat([network.parts(batch).logits.argmax(dim=1) for batch, _ in loader])


def agreement(run: Path, folder: Path) -> float:
    """The share of images that `likewise assign --precision fp32` puts into the cluster of the loop.

    Their pixels differ a little: likewise lets the decoder of JPEG scale down.
    """
    from torchvision.datasets import ImageFolder

    from likewise.runs import RunDirectory
    from likewise.workflow import assign

    recipe, network, _ = _opened(run)
    network.eval()
    images = ImageFolder(str(folder), _transform(recipe.data.image_size))
    clusters = loop(network, images, torch.get_num_threads()).numpy()
    names = [Path(path).relative_to(folder).as_posix() for path, _ in images.samples]
    table, _, _ = assign(RunDirectory(run), folder, precision="fp32")
    found = dict(zip(table.names, table.clusters, strict=True))
    return float(np.mean([found[name] == cluster for name, cluster in zip(names, clusters, strict=True)]))


def _transform(size: int) -> Any:
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    return Compose([Resize(size), CenterCrop(size), ToTensor()])


def likewise_side(run: Path, folder: Path, precision: str) -> Work:
    """`likewise assign`; a turn returns the share of images in the same cluster as the unchanged network."""
    from likewise.runs import RunDirectory
    from likewise.views import plain_view
    from likewise.workflow import assign

    _, network, _ = _opened(run)
    network.eval()
    store = _store(run, folder)
    with torch.inference_mode():
        logits = [network.parts(plain_view(images)).logits for _, images in store.batches(BATCH)]
    expected = torch.cat(logits).argmax(dim=1).numpy()
    del store, network

    def turn() -> float:
        found = assign(RunDirectory(run), folder, precision=precision)[2].probabilities.argmax(axis=1)
        return float(np.mean(found == expected))

    return turn


def memory_loop_side(run: Path, folder: Path) -> Work:
    """The network of the run over batches of pixels that are in memory, in fp32."""
    from likewise.views import plain_view

    _, network, _ = _opened(run)
    store = _store(run, folder)
    network.eval()

    def turn() -> None:
        with torch.inference_mode():
            for _, images in store.batches(BATCH):
                network.parts(plain_view(images))

    return turn


def embedding_side(run: Path, folder: Path, precision: str) -> Work:
    """`likewise.inference.embed` over the same pixels."""
    from likewise.inference import embed
    from likewise.training.machine import choose_machine

    _, network, _ = _opened(run)
    store, machine = _store(run, folder), choose_machine(precision, compile=False)

    def turn() -> None:
        embed(network, store, machine)

    return turn


def _store(run: Path, folder: Path) -> Any:
    from likewise.data import load_images, open_source

    recipe, _, _ = _opened(run)
    return load_images(open_source(folder), recipe.data.image_size, memory_bytes=2**36, channels=recipe.data.channels)


def _opened(run: Path) -> Any:
    from likewise.runs import RunDirectory
    from likewise.workflow.reuse import open_network

    return open_network(RunDirectory(run))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("folder", type=Path, help="images, one folder a class")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    work = (args.run, args.folder)
    tables = {
        "assignment": (
            "files to clusters",
            {
                "plain loop, fp32": Side(loop_side, work),
                "likewise assign, fp32": Side(likewise_side, (*work, "fp32")),
                "likewise assign, as it chooses": Side(likewise_side, (*work, "auto")),
            },
        ),
        "embedding": (
            "pixels in memory to features and clusters",
            {
                "plain loop, fp32": Side(memory_loop_side, work),
                "likewise embed, fp32": Side(embedding_side, (*work, "fp32")),
                "likewise embed, bf16": Side(embedding_side, (*work, "bf16")),
            },
        ),
    }
    count = sum(path.is_file() for path in args.folder.rglob("*"))
    for table, (words, sides) in tables.items():
        results = take_turns(sides, args.rounds, lambda said: print(said, file=sys.stderr, flush=True))
        notes = f"{count:,} images, medians of {args.rounds} turns, {words}."
        if table == "assignment":
            notes += f" fp32 and the loop, which see different pixels, agree on {agreement(*work):.2%} of the images."
        finish(table, _rows(results, count), notes, args.out)


def _rows(results: dict[str, Turns], count: int) -> list[dict[str, object]]:
    first = next(iter(results.values()))
    return [
        {
            "side": name,
            "images/s": round(count / turns.median),
            "times the first": round(turns.times(first), 2),
            "same cluster": "" if turns.figure is None else f"{turns.figure:.2%}",
            "peak GB": round(turns.peak_mb / 1e3, 2),
        }
        for name, turns in results.items()
    ]


if __name__ == "__main__":
    main()
