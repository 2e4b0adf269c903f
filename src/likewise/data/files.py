"""Sources whose images are files: a folder, a list, a single image."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from likewise.data.decode import IMAGE_EXTENSIONS, UnreadableImage, image_shape, read_image
from likewise.data.source import ImageSource
from likewise.errors import InputError
from likewise.progress import say

LIST_EXTENSIONS = (".txt", ".lst")

# what people's folders hold as well, and what would be missed without a word
PICTURE_EXTENSIONS = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw")


class FileSource(ImageSource):
    """Images in files.

    Args:
        kind: `"folder"` or `"list"`.
        spec: What opens it again, empty if nothing does.
        paths: The files, in order.
        names: What each is called; may be any text, also text that is no valid Unicode.
    """

    scaled = True  # whether decoders scale, see `read_image`

    def __init__(self, kind: str, spec: str, paths: Sequence[Path], names: Iterable[str]) -> None:
        self.kind, self.spec = kind, spec
        self.paths = list(paths)
        self.names = [printable(name) for name in names]

    def read(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        return read_image(self.paths[index], size, self.scaled)

    def shape(self, index: int) -> tuple[int, int]:
        return image_shape(self.paths[index])

    def in_full(self) -> "FileSource":
        source = copy(self)
        source.scaled = False
        return source

    def locate(self, index: int) -> Path:
        return self.paths[index]

    def digest(self) -> str:
        """`"sha256:..."` over every name and the length of its file in bytes, in order; -1 for a missing file.

        The pixels do not go in: a file that was edited and kept its length goes unseen, a million files take seconds.
        """
        digest = hashlib.sha256()
        for name, path in zip(self.names, self.paths, strict=True):
            digest.update(f"{name}\0{_length(path)}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def open_folder(data: object) -> ImageSource | None:
    """All images under a folder, at any depth, sorted by name; None if `data` is no folder.

    Hidden entries and files without an image extension are left out. Links are followed; a folder that can be reached
    in several ways is read once, so links in a circle end. A folder below that may not be listed is left out and said.

    Raises:
        InputError: If there is no image under it, or it may not be listed.
    """
    if not isinstance(data, str | Path) or not os.path.isdir(data):
        return None
    root, ignored = Path(data), Counter[str]()
    found = {path.relative_to(root).as_posix(): path.absolute() for path in _image_files(root, ignored)}
    if pictures := {ending: count for ending, count in ignored.items() if ending in PICTURE_EXTENSIONS}:
        endings = ", ".join(f"{count:,} {ending}" for ending, count in sorted(pictures.items()))
        say(f"pictures in formats that cannot be read are left out; convert them to JPEG or PNG: {endings}")
    if not found:
        raise InputError(f"no images under {printable(str(root))}; looked for {', '.join(IMAGE_EXTENSIONS)}")
    names = sorted(found)
    return FileSource("folder", absolute_spec(root), [found[name] for name in names], names)


def open_list(data: object) -> ImageSource | None:
    """The images in a text file of paths, in a Python list of paths, or a single image file; None if it is neither.

    A text file holds one path a line, relative to the text file or absolute; blank lines and lines that begin with #
    are left out, and everything else on a line belongs to the path. Files that are missing stay in: they are reported
    with the other unreadable ones when the images are read.

    Raises:
        InputError: If it lists nothing.
    """
    if isinstance(data, list | tuple) and data and all(isinstance(item, str | Path) for item in data):
        return FileSource("list", "", [Path(item).absolute() for item in data], [str(item) for item in data])
    if not isinstance(data, str | Path) or not os.path.isfile(data):
        return None
    path = Path(data)
    if path.suffix.lower() in LIST_EXTENSIONS:
        return _from_text(path)
    if path.suffix.lower() in IMAGE_EXTENSIONS or _is_image(path):
        return FileSource("list", absolute_spec(path), [path.absolute()], [path.name])
    return None


def absolute_spec(path: Path) -> str:
    """The absolute path as text that a recipe can hold.

    Raises:
        InputError: If the path is no valid Unicode, which no text file could name again.
    """
    spec = str(path.absolute())
    if printable(spec) != spec:
        raise InputError(f"the name of {printable(spec)} is not valid Unicode; rename it or reach it through a link")
    return spec


def printable(name: str) -> str:
    r"""The name as valid Unicode: what is none becomes an escape such as `\udce9`, which tells the byte (e9) it was.

    Example:
        >>> printable("caf\udce9.jpg"), printable("café.jpg")
        ('caf\\udce9.jpg', 'café.jpg')
    """
    return name.encode("utf-8", "backslashreplace").decode()


def _from_text(path: Path) -> FileSource:
    # Not splitlines: a file name may hold any of the other characters that Unicode counts as the end of a line.
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    listed = [line for line in lines if line.strip() and not line.startswith("#")]
    if not listed:
        raise InputError(f"{printable(str(path))} lists no images; write one path a line")
    folder = path.absolute().parent
    return FileSource("list", absolute_spec(path), [folder / line for line in listed], listed)


def _image_files(root: Path, ignored: Counter[str]) -> Iterable[Path]:
    """Files with an image extension under `root`, in no particular order; counts the endings of all others."""
    seen: set[tuple[int, int]] = set()
    folders, links = [str(root)], []  # links wait until all real folders are read, so that real paths give the names
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _entries(folder, root):
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif entry.name.lower().endswith(IMAGE_EXTENSIONS):
                yield Path(entry.path)
            else:
                ignored[Path(entry.name).suffix.lower()] += 1


def _entries(folder: str, root: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)  # the order decides which of two links is followed
    except OSError as error:
        said = f"the folder {printable(folder)} may not be listed: {error.strerror}"
        if folder == str(root):
            raise InputError(said) from error
        say(f"left out, since {said}")
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where nobody may look: an image of that name is one that cannot be read
        return False


def _is_image(path: Path) -> bool:
    try:
        image_shape(path)
    except UnreadableImage:
        return False
    return True


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # no file's name holds a NUL
        return -1
