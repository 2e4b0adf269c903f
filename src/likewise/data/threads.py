"""Work on many items by threads, in order and within bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """Threads for decoding: one a processor, 16 at most. Pillow lets go of Python's lock while it decodes."""
    return min(os.cpu_count() or 1, 16)


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result, None, None]:
    """The results in the order of the items, computed by threads.

    Args:
        function: What is done with one item; it is called from several threads at once.
        items: Taken one by one as there is room, so they may have no end.
        workers: Number of threads.
        ahead: Items that are under way or done and not yet taken, at most.

    Yields:
        One result an item. An error in `function` is raised in the place of its result. Whatever is under way is
        dropped when the iterator is closed.

    Example:
        >>> list(ordered_map(abs, [-1, -2], workers=2, ahead=2))
        [1, 2]
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="likewise-read")
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(under_way) == ahead:
                yield under_way.popleft().result()
            under_way.append(pool.submit(function, item))
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
