"""Features of a frozen backbone, computed once for several views of each image and kept on disk."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from likewise._version import __version__
from likewise.config import Recipe
from likewise.data import ImageSource, ImageStore
from likewise.errors import InputError, RunError
from likewise.folders import cache_folder
from likewise.inference.embed import random_images
from likewise.models import Backbone
from likewise.models.folding import folded
from likewise.progress import say, track
from likewise.ranks import rank, wait
from likewise.runs.files import replacing
from likewise.training.batches import generator_of
from likewise.training.machine import Machine, keep_freed_memory
from likewise.views import Views, plain_view

BLOCK = 4096  # rows that are copied at once
FORMAT = 5  # goes up whenever the same network comes to give other features


class CachedFeatures(NamedTuple):
    """Features on disk, memory-mapped.

    Attributes:
        rows: Rows of the store that they belong to, int64 [N].
        plain: Of the images as they are, float32 [N, F].
        views: Of V augmented views, float16 [V, N, F]; V may be 0.
    """

    rows: np.ndarray
    plain: np.ndarray
    views: np.ndarray


def cached_features(backbone: Backbone, store: ImageStore, recipe: Recipe, machine: Machine) -> CachedFeatures:
    """The features of every image, from the disk if they were computed before.

    Args:
        backbone: Frozen, in evaluation mode.
        store: The images.
        recipe: Names the views, how many of them, and the seed.
        machine: How to compute.

    Returns:
        The arrays, which stay on the disk.

    Raises:
        InputError: If other processes of the training do not see the files that the first has written.
        RunError: If the disk has no room for them.
    """
    folder = cache_folder() / "features" / _key(backbone, store, recipe, machine)
    files = [folder / f"{name}.npy" for name in CachedFeatures._fields]
    if all(file.is_file() for file in files):
        say(f"using the features in {folder}")
    elif rank() == 0:
        _compute(backbone, store, recipe, machine, folder)
    wait()
    if not all(file.is_file() for file in files):
        raise InputError(
            f"the features that the first process has written are not in {folder} on this machine: choose a folder "
            "that all machines share with the environment variable LIKEWISE_CACHE."
        )
    return CachedFeatures(*(np.load(file, mmap_mode="r", allow_pickle=False) for file in files))


def _key(backbone: Backbone, store: ImageStore, recipe: Recipe, machine: Machine) -> str:
    """A name for everything that decides the features: images, weights, size, views, seed, precision."""
    digest = hashlib.sha256()
    for name, value in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    decided = {
        "data": store.source.digest(),
        "files": _files_digest(store.source),
        "images": hashlib.sha256(store.indices.tobytes()).hexdigest(),
        "size": [store.size, store.channels],
        "scaled": recipe.data.scaled_decoding,
        # where no augmented views are cached, all seeds and sets of views share the features of the plain images
        "views": recipe.views.model_dump(mode="json") if recipe.model.cached_views else {},
        "count": recipe.model.cached_views,
        "seed": recipe.training.seed if recipe.model.cached_views else 0,
        "precision": str(machine.dtype),
        "backbone": recipe.model.backbone,
        "version": __version__,
        "format": FORMAT,
    }
    digest.update(json.dumps(decided, sort_keys=True).encode())
    return digest.hexdigest()[:24]


def _files_digest(source: ImageSource) -> str:
    """Where the files of a source lie and when they changed: the source's own digest looks at names and lengths only,
    and uncompressed pictures of one camera share those."""
    digest = hashlib.sha256()
    for path in filter(None, map(source.locate, range(len(source)))):
        try:
            changed = path.stat().st_mtime_ns
        except (OSError, ValueError):
            changed = 0
        digest.update(f"{path}\0{changed}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@torch.inference_mode()
def _compute(backbone: Backbone, store: ImageStore, recipe: Recipe, machine: Machine, folder: Path) -> None:
    """Compute plain and augmented features batch by batch, straight into files; `views.npy` appears last."""
    backbone.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if machine.device == "cpu":
        keep_freed_memory()
    width, total = backbone.num_features, len(store)
    network = folded(backbone, random_images(store, machine))
    make, count = Views(recipe.views, store.size, machine.dtype), recipe.model.cached_views or 0
    _check_space(folder, total * width * (4 + 2 * count))
    with (
        replacing(folder / "views.npy") as views_file,
        replacing(folder / "plain.npy") as plain_file,
        replacing(folder / "rows.npy") as rows_file,
    ):
        # images that turn unreadable meanwhile leave a gap at the end, which is cut off below
        plain = np.lib.format.open_memmap(plain_file, "w+", np.float32, (total, width))
        views = np.lib.format.open_memmap(views_file, "w+", np.float16, (count, total, width))
        kept: list[np.ndarray] = []
        done = 0
        with track("computing features", total=total * (count + 1), unit="views") as tracker:
            for rows, images in store.batches(64):
                images, end = images.to(machine.device), done + len(rows)
                generator = generator_of(recipe.training.seed, int(rows[0]))
                for view in range(-1, count):
                    pixels = plain_view(images, machine.dtype) if view < 0 else make(images, generator)
                    with machine.autocast(), machine.in_full():
                        features = network(pixels).float().cpu().numpy()
                    if view < 0:
                        plain[done:end] = features
                    else:
                        views[view, done:end] = features
                    tracker.advance(len(rows))
                kept.append(rows)
                done = end
        plain.flush()
        views.flush()
        del plain, views
        if done < total:
            _shorten(plain_file, views_file, done)
        np.save(rows_file, np.concatenate(kept))


def _shorten(plain_file: Path, views_file: Path, count: int) -> None:
    """Cut off what no image has filled; block by block, since the files may be larger than the memory."""
    for path in (plain_file, views_file):
        whole = np.load(path, mmap_mode="r", allow_pickle=False)
        with replacing(path) as temporary:
            shape = (*whole.shape[:-2], count, whole.shape[-1])
            shorter = np.lib.format.open_memmap(temporary, "w+", whole.dtype, shape)
            for start in range(0, count, BLOCK):
                block = np.s_[..., start : min(start + BLOCK, count), :]
                shorter[block] = whole[block]
            shorter.flush()
            del shorter


def _check_space(folder: Path, needed: int) -> None:
    """Make sure that the features fit: a file that is mapped and finds no place on the disk ends the process.

    Raises:
        RunError: If they do not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if needed > (free := shutil.disk_usage(folder).free):
        raise RunError(
            f"the features need {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free. Choose another "
            "place with the environment variable LIKEWISE_CACHE, or keep fewer views there: --set model.cached_views=0 "
            "keeps none, and trains more slowly."
        )
