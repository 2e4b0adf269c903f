"""Heads on cached features of ImageNet's size: what an epoch costs in time and memory, at three sizes.

    python benchmarks/scale.py [--images 1280000] [--steps 60] [--batch 4096] [--frame in-batch] [--folder FOLDER]

CDC with 1,000 clusters and 256 instance dimensions trains on features of 2,048 numbers, two cached views in 16 bits, at
a tenth, a third and all of the images. The features are drawn: 1,000 components, within a component noise of 64
directions, and noise of its own in every view. They are written block by block and dropped from the system's cache
before they are trained on, so that every row comes from the disk. Each size has a process of its own.

Where an epoch has more than `--steps` steps, so many are timed and the epoch is extrapolated; the table says which.
Parts of a step by themselves follow: each is a share of a step with as many clusters, so a few steps of 10,000 clusters
are timed as well, on the smallest file.
With `--whole`, what comes before and after the steps of a run follows at each size, in seconds of the processor: the
nearest images, what a head says of all images and the files that are written of it, and K-means as the baseline.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from turns import finish

CLUSTERS, INSTANCE, FEATURES, VIEWS = 1000, 256, 2048, 2
MANY = 10 * CLUSTERS  # of which Sinkhorn has a larger share of a step
HIDDEN = 4096  # of recipes/cdc-imagenet1k.toml
DIRECTIONS = 64
BLOCK = 8192  # rows that are drawn together
WARM_UP = 2  # steps that are not timed
FEW_STEPS = 5  # that are timed with many clusters


class Shape(NamedTuple):
    """What is trained on and how."""

    images: int
    steps: int
    batch: int
    frame: str
    clusters: int = CLUSTERS


def write_features(path: Path, images: int) -> float:
    """Draw cached views, float16 [2, N, 2048], and take them out of the system's cache; returns the seconds."""
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(CLUSTERS, FEATURES, generator=generator)
    directions = torch.randn(DIRECTIONS, FEATURES, generator=generator) / DIRECTIONS**0.5
    views = np.lib.format.open_memmap(path, "w+", np.float16, (VIEWS, images, FEATURES))
    header = views.offset
    views.flush()
    with path.open("r+b") as file:  # not through the map, whose pages would count as memory
        for first in range(0, images, BLOCK):
            count = min(BLOCK, images - first)
            component = torch.randint(CLUSTERS, (count,), generator=generator)
            plain = centers[component] + torch.randn(count, DIRECTIONS, generator=generator) @ directions
            for view in range(VIEWS):
                noisy = plain + torch.randn(count, FEATURES, generator=generator)
                file.seek(header + (view * images + first) * FEATURES * 2)
                file.write(noisy.half().numpy().data)
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return time.perf_counter() - start


def memory_mb() -> dict[str, float]:
    """Resident memory of this process by kind: the peak, and now of its own and of mapped files; empty off Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1e3 for name in ("VmHWM", "RssAnon", "RssFile")}


def train(path: Path, shape: Shape) -> dict[str, Any]:
    """Train on the features of a file, step by step; what it took."""
    from likewise.config import TrainingConfig
    from likewise.methods import CDC, CDCConfig
    from likewise.training.batches import FeatureBatches
    from likewise.training.machine import choose_machine, keep_freed_memory
    from likewise.training.plan import build_optimizer

    machine = choose_machine()
    keep_freed_memory()
    torch.manual_seed(0)
    views = np.load(path, mmap_mode="r")
    settings = {"frame": shape.frame, "instance_dim": INSTANCE, "hidden_dim": HIDDEN}
    config = CDCConfig.model_validate(settings)
    method = CDC(torch.nn.Identity(), FEATURES, shape.clusters, config).to(machine.device).train()
    optimizer = build_optimizer(method, TrainingConfig(learning_rate=0.3, optimizer="lars", weight_decay=1e-6))
    batches = FeatureBatches(views, views[0], shape.batch, seed=0)
    steps = min(shape.steps, batches.steps_per_epoch)
    raw = (batch for epoch in range(10**9) for batch in batches.epoch(epoch))
    seconds, reading, peaks = [], [], {}
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        made = batches.views(next(raw), step, method.views)
        read = time.perf_counter()
        made = tuple(view.to(machine.device) for view in made)
        with machine.autocast():
            loss = method.training_step(made)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step()
        loss = loss.item()
        seconds.append(time.perf_counter() - start)
        reading.append(read - start)
        peaks = {name: max(value, peaks.get(name, 0.0)) for name, value in memory_mb().items()}
        print(
            f"{shape.images:,} images, {shape.clusters:,} clusters, step {step}: {seconds[-1]:.2f} s, loss {loss:.3f}",
            file=sys.stderr,
            flush=True,
        )
    seconds, reading = seconds[WARM_UP:], reading[WARM_UP:]
    mean = statistics.mean(seconds)  # not the median: an epoch pays for its slow steps, too
    per_epoch = batches.steps_per_epoch
    return {
        "images": f"{shape.images:,}",
        "steps an epoch": per_epoch,
        "timed": "the whole epoch" if steps == per_epoch else f"{steps} steps",
        "s a step": round(mean, 3),
        "of it reading": round(statistics.mean(reading), 3),
        "s an epoch": round(mean * per_epoch, 1),
        "s an epoch and 100,000 images": round(mean * per_epoch / shape.images * 1e5, 2),
        "peak GB": round(peaks.get("VmHWM", 0.0) / 1e3, 2),
        "own GB": round(peaks.get("RssAnon", 0.0) / 1e3, 2),
        "mapped GB": round(peaks.get("RssFile", 0.0) / 1e3, 2),
    }


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of this module returns, called in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def typical(work: Callable[[], Any], rounds: int = 5) -> float:
    """Median seconds, after a first call that is not counted."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def parts(batch: int) -> list[tuple[str, int, float]]:
    """Parts of an in-batch step by themselves: name, clusters, seconds."""
    from likewise.objectives import nt_xent, sinkhorn
    from likewise.training.machine import keep_freed_memory

    keep_freed_memory()
    torch.manual_seed(0)
    found = []
    for clusters in (CLUSTERS, MANY):
        logits = functional.normalize(torch.randn(batch, clusters), dim=1)
        found.append(("Sinkhorn of both views", clusters, 2 * typical(lambda scores=logits: sinkhorn(scores, 0.05))))
    joint = [functional.normalize(torch.randn(batch, CLUSTERS + INSTANCE), dim=1).requires_grad_() for _ in range(2)]
    found.append(("NT-Xent and its gradient", CLUSTERS, typical(lambda: nt_xent(*joint, 0.2).backward(), rounds=3)))
    return found


def shares(batch: int, steps: dict[int, float]) -> str:
    """The parts of a step in words.

    Args:
        batch: Images in a batch.
        steps: Seconds of a step, by the number of clusters.
    """
    found = in_own_process(parts, batch)
    said = (f"{name}, K = {k:,}, {value:.3f} s ({value / steps[k]:.1%})" for name, k, value in found)
    whole = " and ".join(f"{seconds:.2f} s at K = {k:,}" for k, seconds in steps.items())
    return f"Parts by themselves, and as a share of a step of {whole}: {'; '.join(said)}."


def write_plain(path: Path) -> None:
    """The first view in 32 bits, as the cache has the images as they are; the views make room for it."""
    views = np.load(path, mmap_mode="r")
    features = np.lib.format.open_memmap(path.with_name("plain.npy"), "w+", np.float32, views.shape[1:])
    for start in range(0, len(features), BLOCK):
        features[start : start + BLOCK] = views[0, start : start + BLOCK]
    path.unlink()


@contextmanager
def own_memory(into: dict[str, float], name: str) -> Iterator[None]:
    """Seconds of the processor, all threads together, and the largest memory that is no mapped file, meanwhile."""
    done, peak, start = threading.Event(), 0.0, time.process_time()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, memory_mb().get("RssAnon", 0.0))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    into |= {f"{name}, s": round(time.process_time() - start), f"{name}, own GB": round(peak / 1e3, 1)}


def neighbours(path: Path) -> dict[str, float]:
    """The nearest images of every image."""
    from likewise.inference import nearest_images

    found: dict[str, float] = {}
    features = np.load(path.with_name("plain.npy"), mmap_mode="r")
    with own_memory(found, "20 neighbours"):
        nearest_images(features, 20)
    return found


def baseline(path: Path) -> dict[str, float]:
    """K-means on the features, as `likewise evaluate` prints it."""
    from likewise.evaluation import kmeans

    found: dict[str, float] = {}
    features = np.load(path.with_name("plain.npy"), mmap_mode="r")
    with own_memory(found, "K-means"):
        kmeans(features, CLUSTERS, seed=0)
    return found


def ending(path: Path) -> dict[str, float]:
    """What a run says of all images at its end, and the files that it writes of them; pictures are of four pixels."""
    from likewise.config import Recipe
    from likewise.data import load_images, open_source
    from likewise.inference import embed_features
    from likewise.methods import CDC, CDCConfig
    from likewise.runs import RunDirectory
    from likewise.training.fit import Outcome
    from likewise.training.machine import choose_machine
    from likewise.workflow.material import Task
    from likewise.workflow.results import write_results

    found: dict[str, float] = {}
    machine = choose_machine(compile=False)
    features = np.load(path.with_name("plain.npy"), mmap_mode="r")
    store = load_images(open_source(np.zeros((len(features), 2, 2, 1), np.uint8)), 2)
    config = CDCConfig.model_validate({"instance_dim": INSTANCE, "hidden_dim": HIDDEN})
    method, outcome = CDC(torch.nn.Identity(), FEATURES, CLUSTERS, config), Outcome(0, 0, 0.0, 0.0, [])
    with own_memory(found, "clusters of all images"):
        embedded = embed_features(method, np.arange(len(features)), features, machine)
    with own_memory(found, "writing them"):
        task = Task(Recipe(), store, machine, RunDirectory(path.with_name("run")))
        write_results(task, embedded, outcome, "none", {})
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_280_000)
    parser.add_argument("--shares", type=int, nargs="+", default=[10, 3, 1], help="sizes: the images over these")
    parser.add_argument("--steps", type=int, default=60, help="at most so many are timed at each size")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--frame", choices=["in-batch", "moco-v2", "moco-v3"], default="in-batch")
    parser.add_argument("--whole", action="store_true", help="what else a run does as well; up to an hour")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for files; 10.5, or 45 GB")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    args = parser.parse_args()
    # features in 32 bits, and in the run; logits and probabilities while they are computed, and in the run
    whole = 2 * FEATURES * 4 + 2 * (2 * CLUSTERS + INSTANCE) * 4 if args.whole else 0
    needed = args.images // min(args.shares) * max(VIEWS * FEATURES * 2, whole)
    if shutil.disk_usage(args.folder).free < needed + 2**30:
        parser.error(f"{args.folder} has no room for {needed / 1e9:.1f} GB; give --folder, or fewer --images")
    shape = Shape(args.images, args.steps, args.batch, args.frame)
    rows, notes, many = [], [], None
    os.environ["LIKEWISE_CACHE"] = str(args.folder / "likewise-scale")
    for images in sorted(args.images // share for share in args.shares):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / "views.npy"
            written = in_own_process(write_features, path, images)
            notes.append(f"{images:,} images drawn and written in {written:.0f} s")
            rows.append(in_own_process(train, path, shape._replace(images=images)))
            if many is None:
                few = shape._replace(images=images, steps=min(args.steps, FEW_STEPS), clusters=MANY)
                many = in_own_process(train, path, few)
            if args.whole:
                in_own_process(write_plain, path)
                found: dict[str, float] = {}
                for part in (neighbours, ending, baseline):
                    found |= in_own_process(part, path)
                costs = ", ".join(f"{name} {value:,.10g}" for name, value in found.items())
                notes.append(f"{images:,} images, the rest of a run: {costs}")
    assert many is not None
    steps = {CLUSTERS: statistics.median(row["s a step"] for row in rows), MANY: many["s a step"]}
    text = (
        f"CDC, {args.frame}, K = {CLUSTERS:,}, D = {INSTANCE}, hidden layer {HIDDEN}, LARS, batch {args.batch}. "
        f"{'; '.join(notes)}. {shares(args.batch, steps)}"
    )
    finish("scale", rows, text, args.out)


if __name__ == "__main__":
    main()
