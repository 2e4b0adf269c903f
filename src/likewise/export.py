"""A clustering as folders of files: one folder for each cluster, and nothing is ever overwritten."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from likewise.config import Recipe
from likewise.data import ImageSource
from likewise.data.decode import UnreadableImage, image_shape
from likewise.errors import InputError, RunError
from likewise.progress import say, track
from likewise.runs import RunDirectory
from likewise.runs.names import NUMBERED
from likewise.wording import plural
from likewise.workflow.reuse import own_source

Mode = Literal["copy", "symlink", "hardlink"]

MODES: dict[Mode, Callable[[Path, Path], object]] = {
    "copy": shutil.copy2,
    "symlink": lambda source, target: target.symlink_to(source.resolve()),
    "hardlink": lambda source, target: os.link(source.resolve(), target),
}


def export_folders(run: RunDirectory, to: Path, mode: Mode = "copy") -> int:
    """Put the images of a run into `to/cluster_0`, `to/cluster_1`, ..., or into folders that bear a cluster's name.

    Args:
        run: A finished run whose images are still where they were.
        to: A folder that does not exist yet, or is empty.
        mode: Copies, symbolic links or hard links.

    Returns:
        How many images were exported.

    Raises:
        InputError: If the folder has something in it, or the images are not files, or no longer there.
        RunError: If a file cannot be made.
    """
    run.require_complete()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} is there already, and nothing is overwritten; choose a new folder.")
    table = run.assignments()
    source = _source_of(run)
    # only files that the source itself lists are touched, whatever names a stranger's table holds
    index = {name: place for place, name in enumerate(source.names)}
    digits, names = len(str(table.num_clusters - 1)), run.names(table.num_clusters)
    folders = [to / names.get(k, f"{NUMBERED}{k:0{digits}d}") for k in range(table.num_clusters)]
    taken: set[Path] = set()
    exported: set[str] = set()
    repeated = 0
    with track("exporting", total=len(table)) as tracker:
        for name, cluster in zip(table.names, table.clusters.tolist(), strict=True):
            # each once, and nothing that only calls itself an image: a stranger's list may name any file
            repeated += name in exported
            file = source.locate(index[name]) if name in index and name not in exported else None
            exported.add(name)
            if file is not None and _is_image(file):
                target = _free(folders[cluster] / _inside(name), taken)
                _place(file, target, mode)
            tracker.advance()
    if repeated:
        say(f"{plural(repeated, 'image stands', 'images stand')} in the list more than once; each is exported once")
    gone = len(exported) - len(taken)
    if not taken:
        raise InputError(
            f"none of the {plural(gone, 'image')} is where it was: put them back as they were, or use --csv."
        )
    if gone:
        say(f"{plural(gone, 'image is', 'images are')} no longer where the run found them, or none, and left out")
    return len(taken)


def _place(file: Path, target: Path, mode: Mode) -> None:
    """Put a file where it belongs, whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        MODES[mode](file, target)
    except OSError as error:
        if mode == "copy":
            target.unlink(missing_ok=True)
        others = " or ".join(f"--mode {other}" for other in MODES if other != mode)
        raise RunError(
            f"{target} cannot be made ({error.strerror or error}). What was exported before stays; delete it and make "
            f"room, or choose a new folder and {others}."
        ) from error


def _source_of(run: RunDirectory) -> ImageSource:
    spec = Recipe.read(run.recipe_file).data.source
    if not spec:
        raise InputError("this run was made from images in memory, which have no files; use --csv.")
    source = own_source(run, spec, "; or use --csv")
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
    if parts and re.fullmatch("[A-Za-z]:", parts[0]):  # on Windows, so does one with a drive
        del parts[0]
    return Path(*parts) if parts else Path("image")


def _free(target: Path, taken: set[Path]) -> Path:
    """`target`, or the same with a number, where the name is taken already."""
    free, number = target, 2
    while free in taken or free.exists():  # some disks take a.jpg and A.jpg for the same
        free, number = target.with_name(f"{target.stem}-{number}{target.suffix}"), number + 1
    taken.add(free)
    return free
