"""Writing files so that a reader sees the old content or the new one, and never half of either."""

import csv
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from likewise.errors import InputError, RunError

if TYPE_CHECKING:
    import numpy as np


def require_writable(path: Path, instead: str) -> None:
    """Make sure that something can be written at a path, before hours of work are spent on what is to lie there.

    A file is made and removed in the nearest folder above that exists: what permissions say is not all that counts.

    Args:
        path: Need not exist, nor its folder.
        instead: What to do where it cannot, as a sentence without its capital and full stop.

    Raises:
        InputError: If it cannot.
    """
    place = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"{place} cannot be written to ({error.strerror}); {instead}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends well.

    Args:
        path: The file to be written or replaced. Its folder is made if need be.

    Yields:
        A path in the same folder; after an error it is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _full_disk_said(path):
            yield temporary
        with _full_disk_said(path), temporary.open("r+b") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a result is as readable as any other file of its owner
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


FULL = 2**20  # bytes that are left on a disk at most when it is called full


@contextmanager
def _full_disk_said(path: Path) -> Iterator[None]:
    """What writers say of a full disk is their own each, and does not name the file."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full or (not isinstance(error, InputError | RunError) and shutil.disk_usage(path.parent).free < FULL):
            raise RunError(
                f"{path} cannot be written: there is no room left for it. Make some; a run that has begun goes on with "
                "--resume."
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` by `text` in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace the file at `path` by `value` as JSON; NaN and infinities, which JSON cannot say, become null."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: "dict[str, np.ndarray]") -> None:
    """Replace the file at `path` by arrays of numbers and text, as `.npz`; reading them needs no pickle."""
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def csv_writer(file: IO[str]) -> Any:
    """A `csv.writer` whose lines end with a line feed, and whose cells may hold any character."""
    # before Python 3.13, csv puts a cell with a carriage return into quotes only where its own lines end with one
    return csv.writer(_LineFeeds(file), lineterminator="\r\n")


class _LineFeeds:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix("\r\n") + "\n")
