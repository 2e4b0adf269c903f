"""A clustering as folders of files: one folder a cluster, and nothing is ever overwritten."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from likewise.config import Recipe
from likewise.data import ImageSource, open_source
from likewise.data.decode import UnreadableImage, image_shape
from likewise.errors import InputError
from likewise.progress import say, track
from likewise.runs import RunDirectory

Mode = Literal["copy", "symlink", "hardlink"]

MODES: dict[Mode, Callable[[Path, Path], object]] = {
    "copy": shutil.copy2,
    "symlink": lambda source, target: target.symlink_to(source.resolve()),
    "hardlink": lambda source, target: os.link(source, target),
}


def export_folders(run: RunDirectory, to: Path, mode: Mode = "copy") -> int:
    """Put the images of a run into `to/cluster_0`, `to/cluster_1`, ...

    Args:
        run: A finished run whose images are still where they were.
        to: A folder that does not exist yet, or is empty.
        mode: Copies, symbolic links or hard links.

    Returns:
        How many images were exported.

    Raises:
        InputError: If the folder has something in it, or the images are not files.
    """
    run.require_complete()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} is there already, and nothing is overwritten; choose a new folder.")
    table = run.assignments()
    source = _source_of(run)
    # only files that the source itself lists are touched, whatever names a stranger's table holds
    index = {name: place for place, name in enumerate(source.names)}
    digits = len(str(table.num_clusters - 1))
    taken: set[Path] = set()
    with track("exporting", total=len(table)) as tracker:
        for name, cluster in zip(table.names, table.clusters.tolist(), strict=True):
            # each once, and nothing that only calls itself an image: a stranger's list may name any file
            file = source.locate(index.pop(name)) if name in index else None
            if file is not None and _is_image(file):
                target = _free(to / f"cluster_{cluster:0{digits}d}" / _inside(name), taken)
                target.parent.mkdir(parents=True, exist_ok=True)
                MODES[mode](file, target)
            tracker.advance()
    if len(taken) < len(table):
        say(f"{len(table) - len(taken):,} images are no longer where they were, or are none, and were left out")
    return len(taken)


def _source_of(run: RunDirectory) -> ImageSource:
    spec = Recipe.read(run.recipe_file).data.source
    if not spec:
        raise InputError("this run was made from images in memory, which have no files; use --csv.")
    source = open_source(spec)
    if len(source) and source.locate(0) is None:
        raise InputError(f"the images of {spec} are not files of their own; use --csv.")
    return source


def _is_image(file: Path) -> bool:
    try:
        image_shape(file)
    except UnreadableImage:
        return False
    return True


def _inside(name: str) -> Path:
    """A relative path without any step upwards, from an image's name."""
    # an absolute path begins with "/" or "//", and joining one to a folder would leave the folder
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part.strip("/") not in ("", "..")]
    return Path(*parts) if parts else Path("image")


def _free(target: Path, taken: set[Path]) -> Path:
    """`target`, or the same with a number, where the name is taken already."""
    free, number = target, 2
    while free in taken or free.exists():  # some disks take a.jpg and A.jpg for the same
        free, number = target.with_name(f"{target.stem}-{number}{target.suffix}"), number + 1
    taken.add(free)
    return free
