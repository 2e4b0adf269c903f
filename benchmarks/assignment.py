"""From image files to clusters and features by a finished run, beside a plain loop over a timm model.

    python benchmarks/assignment.py [RUN FOLDER] [--images 500] [--rounds 5]

RUN is a run directory with a timm backbone, FOLDER holds images in one folder a class. Without them both are made
first: JPEG files of 500x375 px as those of decoding.py, of ten kinds, and a run of some seconds on a frozen
EfficientNet-Lite0 at 128 px (pip install 'likewise[offline]') that tells them apart. How sure a run is decides how many
images are looked at again in fp32.

Each turn starts from the files and ends with the cluster of every image, or with the file that `likewise embed` writes.
The plain loop is what one writes by hand: torchvision's transforms in a DataLoader, the network of the run in fp32,
argmax; without workers and with as many as there are threads, and the faster of both is what others are compared with.
On a GPU, if there is one, all sides. "Same cluster" is the share of images that the run's network puts into the same
cluster in fp32, without any change, from the same pixels. A second table leaves out the reading of files: from pixels
in memory to features and clusters.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pictures import WORDS, write_pictures
from turns import Side, Turns, Work, finish, take_turns, wait_for

BATCH = 32  # at which the plain loop is at its fastest on two cores; likewise chooses for itself
LOOP = "plain loop"  # what the names of loops begin with
RECIPE = {
    "data": {"image_size": 128, "channels": 3},
    "model": {"backbone": "efficientnet_lite0", "weights": "pretrained", "frozen": True, "cached_views": 2},
    "method": {"num_clusters": 10},
    "training": {"epochs": 30, "batch_size": 64, "heads": 1},
}


def make_run(run: Path, folder: Path) -> None:
    """A finished run on the images of a folder."""
    from likewise.config import Recipe
    from likewise.runs import RunDirectory
    from likewise.workflow import cluster

    os.environ["LIKEWISE_CACHE"] = str(run.with_name("cache"))  # its features are of no use to anybody later
    cluster(Recipe.parse(RECIPE), folder, RunDirectory(run))


def loop_side(run: Path, folder: Path, workers: int) -> Work:
    """The loop that one writes by hand."""
    from torchvision.datasets import ImageFolder

    recipe, network, device = _opened(run)
    transform = _transform(recipe.data.image_size)

    def turn() -> None:
        loop(network, ImageFolder(str(folder), transform), workers, device)

    return turn


def loop(network: Any, images: Any, workers: int, device: str) -> torch.Tensor:
    """The cluster of each image of a data set of torchvision."""
    loader = torch.utils.data.DataLoader(images, BATCH, num_workers=workers)
    with torch.inference_mode():
        return torch.cat([network.parts(batch.to(device)).logits.argmax(dim=1) for batch, _ in loader]).cpu()


def agreement(run: Path, folder: Path) -> float:
    """The share of images that `likewise assign --precision fp32` puts into the cluster of the loop.

    Their pixels differ a little: Pillow antialiases both, but likewise crops and scales in one step, and lets the
    decoder of JPEG scale down unless the run says otherwise.
    """
    from torchvision.datasets import ImageFolder

    from likewise.runs import RunDirectory
    from likewise.workflow import assign

    recipe, network, device = _opened(run)
    images = ImageFolder(str(folder), _transform(recipe.data.image_size))
    clusters = loop(network, images, torch.get_num_threads(), device).numpy()
    names = [Path(path).relative_to(folder).as_posix() for path, _ in images.samples]
    table, _, _ = assign(RunDirectory(run), folder, precision="fp32")
    found = dict(zip(table.names, table.clusters, strict=True))
    return float(np.mean([found[name] == cluster for name, cluster in zip(names, clusters, strict=True)]))


def _transform(size: int) -> Any:
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    return Compose([Resize(size), CenterCrop(size), ToTensor()])


def assign_side(run: Path, folder: Path, precision: str) -> Work:
    """`likewise assign`; a turn returns the share of images in the same cluster as the unchanged network."""
    from likewise.runs import RunDirectory
    from likewise.views import plain_view
    from likewise.workflow import assign

    _, network, device = _opened(run)
    store = _store(run, folder)
    with torch.inference_mode():
        logits = [network.parts(plain_view(images.to(device))).logits for _, images in store.batches(BATCH)]
    expected = torch.cat(logits).argmax(dim=1).cpu().numpy()
    del store, network

    def turn() -> float:
        found = assign(RunDirectory(run), folder, precision=precision)[2].probabilities.argmax(axis=1)
        return float(np.mean(found == expected))

    return turn


def embed_side(run: Path, folder: Path, precision: str) -> Work:
    """`likewise embed`, with the file that it writes."""
    from likewise.cli import embed

    def turn() -> None:
        with tempfile.TemporaryDirectory() as temporary:
            embed(run, str(folder), Path(temporary) / "features.npz", precision)

    return turn


def memory_loop_side(run: Path, folder: Path) -> Work:
    """The network of the run over batches of pixels that are in memory, in fp32."""
    from likewise.views import plain_view

    _, network, device = _opened(run)
    store = _store(run, folder)

    def turn() -> None:
        with torch.inference_mode():
            for _, images in store.batches(BATCH):
                network.parts(plain_view(images.to(device)))
        wait_for(device)

    return turn


def memory_embed_side(run: Path, folder: Path, precision: str) -> Work:
    """`likewise.inference.embed` over the same pixels."""
    from likewise.inference import embed
    from likewise.runs import RunDirectory
    from likewise.workflow import open_network

    _, network, machine = open_network(RunDirectory(run), precision)
    store = _store(run, folder)

    def turn() -> None:
        embed(network, store, machine)

    return turn


def _store(run: Path, folder: Path) -> Any:
    """The images as `likewise assign` reads them, but all in memory."""
    from likewise.assembly import image_store
    from likewise.data import open_source

    recipe, _, _ = _opened(run)
    return image_store(open_source(folder), recipe.data.model_copy(update={"memory_gb": 64.0}))


def _opened(run: Path) -> tuple[Any, Any, str]:
    """Recipe, network in evaluation mode on its device, and that device."""
    from likewise.runs import RunDirectory
    from likewise.workflow import open_network

    recipe, network, machine = open_network(RunDirectory(run))
    return recipe, network.eval().to(machine.device), machine.device


def sides_of(run: Path, folder: Path) -> dict[str, dict[str, Side]]:
    """Of both tables: from files, and from pixels in memory."""
    work, many = (run, folder), torch.get_num_threads()
    files = {
        f"{LOOP}, fp32, no workers": Side(loop_side, (*work, 0)),
        f"{LOOP}, fp32, workers: {many}": Side(loop_side, (*work, many)),
        "likewise assign, fp32": Side(assign_side, (*work, "fp32")),
        "likewise assign, as it chooses": Side(assign_side, (*work, "auto")),
        "likewise embed, as it chooses": Side(embed_side, (*work, "auto")),
    }
    memory = {
        f"{LOOP}, fp32": Side(memory_loop_side, work),
        "inference.embed, fp32": Side(memory_embed_side, (*work, "fp32")),
        "inference.embed, as it chooses": Side(memory_embed_side, (*work, "auto")),
    }
    return {"assignment": files, "embedding": memory}


def compare(run: Path, folder: Path, rounds: int, origin: str, out: Path) -> None:
    """Measure both tables and write them."""
    count = sum(path.is_file() for path in folder.rglob("*"))
    words = {"assignment": "files to clusters", "embedding": "pixels in memory to features and clusters"}
    for table, sides in sides_of(run, folder).items():
        results = take_turns(sides, rounds, lambda said: print(said, file=sys.stderr, flush=True))
        notes = f"{count:,} {origin}; medians of {rounds} turns, {words[table]}."
        if table == "assignment":
            notes += f" fp32 and the loop, which see different pixels, agree on {agreement(run, folder):.2%} of them."
        finish(table, _rows(results, count), notes, out, {words[table]: results})


def _rows(results: dict[str, Turns], count: int) -> list[dict[str, object]]:
    loop = min((turns for name, turns in results.items() if name.startswith(LOOP)), key=lambda turns: turns.median)
    return [
        {
            "side": name,
            "images/s": round(count / turns.median),
            "times the faster loop": round(turns.times(loop), 2),
            "same cluster": "" if turns.figure is None else f"{turns.figure:.2%}",
            "peak GB": round(turns.peak_mb / 1e3, 2),
        }
        for name, turns in results.items()
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a finished run")
    parser.add_argument("folder", type=Path, nargs="?", help="images, one folder a class")
    parser.add_argument("--images", type=int, default=500, help="how many to make, where no run is given")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    if args.run is not None and args.folder is None:
        parser.error("a run needs images to assign: give RUN FOLDER, or neither, and both are made")
    if args.run is not None:
        compare(args.run, args.folder, args.rounds, f"images, assigned by {args.run.name}", args.out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        run, folder = Path(temporary) / "run", Path(temporary) / "images"
        write_pictures(folder, args.images)
        make_run(run, folder)
        origin = f"images of {WORDS}, a short run on a frozen EfficientNet-Lite0 at 128 px"
        compare(run, folder, args.rounds, origin, args.out)


if __name__ == "__main__":
    main()
