"""Silence for Pillow's warnings while images are decoded."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_PILLOW = r"PIL\."
_lock = threading.Lock()
_inside = 0  # blocks that are open right now, over all threads


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore the warnings that Pillow raises, in all threads, until the last open block ends.

    A photo with odd metadata is no news for the user, and where warnings are errors it would count as broken.
    `warnings.catch_warnings` would put back the whole list of filters as it was, so that two threads which overlap
    undo each other. Here the first block adds one filter and the last one takes that filter away again.
    """
    global _inside
    with _lock:
        _inside += 1
        if not any(map(_is_ours, warnings.filters)):
            warnings.filterwarnings("ignore", module=_PILLOW)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                warnings.filters[:] = [item for item in warnings.filters if not _is_ours(item)]  # type: ignore[index]


def _is_ours(item: tuple) -> bool:
    """Whether an entry (action, message, category, module, line) of `warnings.filters` is the one added above."""
    return item[0] == "ignore" and getattr(item[3], "pattern", None) == _PILLOW
