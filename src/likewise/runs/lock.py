"""One process at a time writes to a folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from likewise.errors import RunError

LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder; the system lets go of it when this process ends, in any way.

    Two trainings in one folder would each replace parts of what the other writes. Where the system has no such locks,
    nothing happens.

    Args:
        folder: Is made if need be, and removed if nothing has come of it.

    Raises:
        RunError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = _locked(folder / LOCK, lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        if made:
            with suppress(OSError):  # it has something in it
                folder.rmdir()


def _locked(path: Path, lock: Callable[[int], None]) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            lock(handle)
        except BlockingIOError:
            os.close(handle)
            raise RunError(
                f"another process is writing to {path.parent}; wait until it has ended, or choose another place: -o."
            ) from None
        except OSError:  # a file system without locks
            return handle
        # whoever held it before may have removed it since it was opened
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)
