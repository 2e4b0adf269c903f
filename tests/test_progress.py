"""Progress: plain lines now and then where a program reads them, a bar on a terminal."""

import io
import sys

import pytest

from likewise import progress
from likewise.progress import Tracker, format_seconds, say, track


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def lines_of(tracker: Tracker) -> list[str]:
    assert isinstance(tracker.stream, io.StringIO)
    return tracker.stream.getvalue().splitlines()


def test_plain_lines_come_every_ten_seconds(clock: Clock) -> None:
    tracker = Tracker("reading images", 4000, "images", io.StringIO())
    for _ in range(40):
        clock.now += 1
        tracker.advance(50)
    assert lines_of(tracker) == [
        "reading images: 500 of 4,000 images, 1 min 10 s left",
        "reading images: 1,000 of 4,000 images, 1 min 00 s left",
        "reading images: 1,500 of 4,000 images, 50 s left",
        "reading images: 2,000 of 4,000 images, 40 s left",
    ]


def test_short_work_says_nothing(clock: Clock) -> None:
    tracker = Tracker("reading", 100, "images", io.StringIO())
    clock.now += 9.9
    tracker.advance(100)
    assert lines_of(tracker) == []


def test_without_a_total(clock: Clock) -> None:
    tracker = Tracker("training", None, "steps", io.StringIO())
    clock.now += 10
    tracker.advance(7, "loss 2.1")
    tracker.set_total(14)
    clock.now += 10
    tracker.advance(0)
    assert lines_of(tracker) == [
        "training: 7 steps (loss 2.1)",
        "training: 7 of 14 steps, 20 s left (loss 2.1)",
    ]


def test_seconds_left(clock: Clock) -> None:
    tracker = Tracker("training", 100, "steps", io.StringIO())
    assert tracker.seconds_left() is None
    # 60 of them were done by an earlier try and say nothing of the speed
    tracker.start_at(60)
    assert tracker.seconds_left() is None
    clock.now += 5
    tracker.advance(10)
    assert tracker.seconds_left() == pytest.approx(15)
    tracker.advance(50)
    assert tracker.seconds_left() == 0


def test_in_a_pipe(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with track("counting", total=3, unit="sheep") as tracker:
        say("hello [red]")
        clock.now += 11
        tracker.advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["hello [red]", "counting: 2 of 3 sheep, 6 s left"]


class Terminal(io.StringIO):
    """A screen that remembers."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # not a fixture: between set-up and test, pytest puts its own stderr back
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return terminal


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with track("counting", unit="sheep") as tracker:
        tracker.set_total(3)
        for _ in range(3):
            tracker.advance(1, "black ones")
        say("hello [red]")
        with track("inside", total=2) as inner:
            assert type(inner) is Tracker
            inner.advance(2)
    screen = terminal.getvalue()
    assert "counting" in screen
    assert "3/3" in screen
    assert "sheep" in screen
    assert "black ones" in screen
    assert "hello [red]" in screen
    assert progress._live is None


def test_an_error_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError), track("counting", total=3) as tracker:
        tracker.advance(1 // 0)
    assert progress._live is None
    say("after")
    assert terminal.getvalue().endswith("after\n")
