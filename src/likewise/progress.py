"""Progress of long work: a bar with the time left on a terminal, plain lines where the output is read by a program.

Everything goes to standard error, so that standard output stays free for results.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from likewise.ranks import rank


def format_seconds(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> format_seconds(42.4), format_seconds(192), format_seconds(7500)
        ('42 s', '3 min 12 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable_line(text: str) -> str:
    r"""The text as one line, without characters that command a terminal, such as a stranger's file name may hold.

    Example:
        >>> printable_line("photo\x1b]0;gotcha\x07.jpg")
        'photo\\x1b]0;gotcha\\x07.jpg'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(lines: Iterable[str]) -> str:
    """The same of several lines, one below the other."""
    return "\n".join(map(printable_line, lines))


def say(message: str) -> None:
    """Print one line for the user, above a running progress bar if there is one."""
    if rank() != 0:
        return
    message = printable_line(message)
    if _live is not None:
        _live.console.print(message, markup=False, highlight=False)
    else:
        print(message, file=sys.stderr, flush=True)  # noqa: T201


_live = None  # the rich bar on the screen, so that `say` does not tear it


class Tracker:
    """Counts work that is done and tells the user now and then.

    Args:
        label: What is being done, such as `"reading images"`.
        total: How many units there are; None where that is not known yet.
        unit: The plural name of what is counted.
        stream: Where plain lines go.
        every: Seconds between two plain lines.
    """

    def __init__(self, label: str, total: int | None, unit: str, stream: TextIO, every: float = 10.0) -> None:
        self.label, self.total, self.unit, self.stream, self.every = label, total, unit, stream, every
        self.done = 0
        self.note = ""
        self._before = 0
        self._start = time.monotonic()
        self._said = self._start
        self._speaks = rank() == 0

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units; `note` is shown beside the bar until the next note."""
        self.done += count
        self.note = note or self.note
        self._show()

    def set_total(self, total: int) -> None:
        """State the total once it is known."""
        self.total = total

    def start_at(self, done: int) -> None:
        """State what an earlier try had done, which says nothing of today's speed."""
        self.done = self._before = done

    def seconds_left(self) -> float | None:
        """Seconds that are left at the mean speed so far, None before anything is done or without a total."""
        new = self.done - self._before
        if not new or not self.total:
            return None
        return (time.monotonic() - self._start) / new * max(self.total - self.done, 0)

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._said < self.every or not self._speaks:
            return
        self._said = now
        left = self.seconds_left()
        total = f" of {self.total:,}" if self.total else ""
        remaining = f", {format_seconds(left)} left" if left is not None else ""
        note = f" ({self.note})" if self.note else ""
        print(f"{self.label}: {self.done:,}{total} {self.unit}{remaining}{note}", file=self.stream, flush=True)


class _Bar(Tracker):
    """The same on a terminal, drawn by rich."""

    def __init__(self, label: str, total: int | None, unit: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__(label, total, unit, stream)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="dim"),
            console=Console(file=stream),
        )
        self._task = self._bar.add_task(label, total=total, note="")

    def set_total(self, total: int) -> None:
        super().set_total(total)
        self._bar.update(self._task, total=total)

    def _show(self) -> None:
        self._bar.update(self._task, completed=self.done, note=self.note)


@contextmanager
def track(label: str, total: int | None = None, unit: str = "images") -> Iterator[Tracker]:
    """A tracker for the work in the `with` block.

    Args:
        label: What is being done.
        total: How many units there are, if that is known.
        unit: The plural name of what is counted.

    Yields:
        The tracker; call its `advance` as the work goes on.

    Example:
        >>> with track("counting", total=3, unit="sheep") as tracker:
        ...     for _ in range(3):
        ...         tracker.advance()
    """
    global _live
    stream = sys.stderr
    if not stream.isatty() or _live is not None or rank() != 0:
        yield Tracker(label, total, unit, stream)
        return
    bar = _Bar(label, total, unit, stream)
    with bar._bar as _live:
        try:
            yield bar
        finally:
            _live = None
