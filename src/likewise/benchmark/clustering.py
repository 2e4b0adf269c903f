"""Runs a comparison: every method with every seed, each in a process of its own, and writes the table."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from likewise._version import __version__
from likewise.benchmark.chart import quality_svg
from likewise.benchmark.entries import FULL, NEW_HEADS, SUPERVISED, Entry
from likewise.benchmark.job import STOPPED, Job, check, resolved
from likewise.benchmark.results import budget_words, document, summarise, table
from likewise.benchmark.setup import Setup, decided, owner_and_setting, pinned
from likewise.data import open_source
from likewise.errors import InputError, RunError, unknown_name
from likewise.methods import CDC, METHODS
from likewise.progress import format_seconds, say
from likewise.ranks import world_size
from likewise.recipe_book import recipe_tables
from likewise.runs.files import write_json, write_text
from likewise.runs.lock import LOCK, held
from likewise.tracks import notice

FINISHED = {"done", "diverged"}  # a divergence is a result; what failed otherwise is tried again
_LENGTHS = ("training.minutes", "training.epochs", "training.steps", "training.seed", "method.num_clusters")
_CHAIN = ("method.name", "model.start", "stage.name")
_SECTIONS = {  # whose parts are set one at a time, and how
    "data": "data.image_size=64",
    "views": "views.blur=0",
    "model": "model.frozen=true",
    "method": "cdc:method.settings.frame=moco-v2",
    "method.settings": "cdc:method.settings.frame=moco-v2",
    "stage": "stage.settings.threshold=0.9",
    "stage.settings": "stage.settings.threshold=0.9",
    "training": "training.weight_decay=1e-4",
}


def benchmark(
    title: str, setup: Setup, entries: Sequence[Entry], seeds: int, out: Path, pin: str = ""
) -> dict[str, Any]:
    """Compare entries under one setup. What an earlier call has finished is kept, and what it left is gone on with.

    Args:
        title: Of the results.
        setup: What all of them share.
        entries: The rows.
        seeds: Of each, counted from 0.
        out: Folder for the runs and the results.
        pin: A method, all of whose settings are named for every row, see `pinned`.

    Returns:
        What stands in results.json.

    Raises:
        InputError: If something was asked for that cannot be done, before anything is trained.
        RunError: If the user stopped it.
    """
    if seeds < 1:
        raise InputError(f"{seeds} seeds: there must be one at least; give --seeds 3.")
    _check_settings(setup)
    if world_size() > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        raise InputError("a comparison makes a process for each run; start it without torchrun.")
    if pin:
        setup = pinned(setup, pin)
    entries = _fitting(entries, setup)
    _check_owners(setup, entries)
    jobs = [
        Job(setup, entry, seed, out.resolve() / entry.name / f"seed-{seed}")
        for seed in range(seeds)
        for entry in entries
    ]
    for job in jobs[: len(entries)]:
        check(job)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another folder with -o.")
    with held(out):
        _claim(out, setup)
        try:
            _run(jobs)
        finally:  # of a comparison that was stopped, what has finished is in the table
            results = [result for job in jobs if (result := _result(job))]
            summary = _write(title, setup, entries, seeds, out, results)
    return summary


def _check_settings(setup: Setup) -> None:
    """Make sure that no setting says what an option decides, or takes from a row what all of them share."""
    for setting in setup.settings:
        owner, own = owner_and_setting(setting)
        name = own.partition("=")[0]
        if owner and owner not in METHODS:
            raise unknown_name(f"method in --set {setting}", owner, METHODS)
        if name in _SECTIONS:  # as a whole, it could hold all that is refused below
            raise InputError(
                f"--set {setting}: {name} is a section; give its settings one at a time, such as "
                f"--set {_SECTIONS[name]}."
            )
        if owner and own.startswith(("model.", "data.", "views.")):
            raise InputError(f"--set {setting}: images, views and network are the same for all rows; give --set {own}.")
        if name in _LENGTHS:
            raise InputError(
                f"--set {setting}: budget, seeds and clusters have options of their own here: --minutes or --epochs, "
                "--seeds, -k."
            )
        if name in _CHAIN:
            raise InputError(
                f"--set {setting}: what is trained from what is decided by the rows here; choose them by --methods or "
                "--switches."
            )


def _check_owners(setup: Setup, entries: Sequence[Entry]) -> None:
    """Make sure that a setting of one method is of one that is trained."""
    trained = sorted({stage.method for entry in entries for stage in entry.stages})
    for setting in setup.settings:
        owner, _ = owner_and_setting(setting)
        if owner and owner not in trained:
            raise InputError(
                f"--set {setting}: none of these rows trains {owner}, they train {', '.join(trained) or 'nothing'}; "
                "leave the setting out, or choose a row that does."
            )


def _fitting(entries: Sequence[Entry], setup: Setup) -> list[Entry]:
    """The entries as they are trained and shown under a setup."""
    methods = [stage.method for entry in entries for stage in entry.stages]
    frozen = bool(methods) and bool(decided(setup, methods[0]).model.frozen)
    why = {entry.name: _left_out(entry, frozen, setup) for entry in entries}
    for reason in dict.fromkeys(filter(None, why.values())):
        say(f"left out, since {reason}: {', '.join(name for name in why if why[name] == reason)}")
    fitting = [entry.on(frozen) for entry in entries if not why[entry.name]]
    fitting = _without_twins(fitting, setup)
    if not fitting:
        reasons = "; ".join(f"{name}, since {reason}" for name, reason in why.items())
        raise InputError(f"nothing is left to compare: {reasons}. Choose other rows, or change what they miss.")
    if setup.test is None:
        seen = "scored on the very images whose labels it has learnt"
        fitting = [
            replace(entry, about=f"{entry.about}, {seen}") if entry.name == SUPERVISED else entry for entry in fitting
        ]
    return fitting


def _without_twins(entries: Sequence[Entry], setup: Setup) -> list[Entry]:
    """The entries without those that train what another one trains: what they change may be so in all rows."""
    kept: dict[str, Entry] = {}
    source = open_source(setup.data)
    for entry in sorted(entries, key=lambda entry: entry.name != FULL):
        recipes = resolved(Job(setup, entry, 0, Path("start")), source)
        key = "".join(recipe.to_toml() for recipe in recipes) or entry.name
        if key in kept:
            say(f"left out, since with these settings it is {kept[key].name}: {entry.name}")
        else:
            kept[key] = entry
    return [entry for entry in entries if entry in kept.values()]


def _left_out(entry: Entry, frozen: bool, setup: Setup) -> str:
    """Why an entry would be no row of its own under a setup; empty where it is one."""
    other = "trained" if frozen else "frozen"
    if entry.only == other:
        return f"only a {other} backbone has what they change"
    if entry.name == NEW_HEADS and not CDC.renews(decided(setup, "cdc").method.settings):
        return "only a training in the in-batch frame ends with new heads"
    return ""


def _claim(out: Path, setup: Setup) -> None:
    """Make sure that what lies in the folder was made under the same setup."""
    path, own = out / "benchmark.json", json.loads(json.dumps(asdict(setup)))
    own["version"] = __version__
    if setup.recipe is not None:
        own["recipe_tables"] = recipe_tables(setup.recipe)  # a file may say something else by now
    own["images"] = [open_source(images).digest() for images in (setup.data, setup.test) if images is not None]
    if path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); choose another folder with -o.") from error
        differing = [name for name in own if not isinstance(known, dict) or known.get(name) != own[name]]
        if differing:
            raise InputError(
                f"{out} holds a comparison with other settings ({', '.join(differing)}); choose another folder with -o."
            )
    elif any(file.name != LOCK for file in out.iterdir()):
        raise InputError(f"{out} is not empty, and nothing is overwritten; choose another folder with -o.")
    write_json(path, own)


def _run(jobs: Sequence[Job]) -> None:
    left = [job for job in jobs if _result(job).get("status") not in FINISHED]
    if len(left) < len(jobs):
        say(f"{len(jobs) - len(left)} of {len(jobs)} runs have been finished before and are kept")
    taken: list[float] = []
    for number, job in enumerate(left):
        say(f"run {number + 1} of {len(left)}: {job.entry.name}, seed {job.seed}{_time_left(taken, left[number:])}")
        start = time.monotonic()
        _run_one(job)
        if job.entry.stages:
            taken.append(time.monotonic() - start)
        if (result := _result(job))["status"] != "done":
            say(f"{job.entry.name}, seed {job.seed} {result['status']}: {result['error']}")


def _time_left(taken: list[float], left: Sequence[Job]) -> str:
    """The time left, by what runs took so far or else by their budget; clusterings of pixels take next to none."""
    minutes = left[0].setup.minutes
    each = sum(taken) / len(taken) if taken else None if minutes is None else 60 * minutes
    if each is None:
        return ""
    return f"; about {format_seconds(each * sum(bool(job.entry.stages) for job in left))} left"


def _run_one(job: Job) -> None:
    """Perform a job in a process of its own, whatever becomes of that."""
    job.result_file.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "likewise.benchmark.job", job.to_json()])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        raise _stopped() from None
    if status == STOPPED:
        raise _stopped()
    if status or not _result(job):
        error = f"the process ended with status {status}; was there enough memory?"
        write_json(job.result_file, {"entry": job.entry.name, "seed": job.seed, "status": "failed", "error": error})


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a job that the terminal has told to stop as well, and end it if it was not told."""
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _stopped() -> RunError:
    return RunError("stopped; the same command goes on with what is left.")


def _result(job: Job) -> dict[str, Any]:
    """The result of a job; empty where there is none, or one that is not what a job writes."""
    try:
        result = json.loads(job.result_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(result, dict) or (result.get("entry"), result.get("seed")) != (job.entry.name, job.seed):
        return {}
    needed = {"done": {"acc", "nmi", "ari", "track", "curve", "machine", "protocol"}}
    status = result.get("status")
    known = isinstance(status, str) and needed.get(status, {"error"}) <= result.keys()
    return result if known else {}


def _write(
    title: str, setup: Setup, entries: Sequence[Entry], seeds: int, out: Path, results: list[dict[str, Any]]
) -> dict[str, Any]:
    rows = summarise(entries, results, seeds)
    done = [result for result in results if result["status"] == "done"]
    facts = _facts(setup, done)
    curves = {
        entry.name: [result["curve"] for result in done if result["entry"] == entry.name and result["curve"]]
        for entry in entries
    }
    curves = {name: seen for name, seen in curves.items() if seen}
    if curves:
        write_text(out / "quality.svg", quality_svg(curves))
    summary = {"title": title, "facts": facts, "setup": asdict(setup), "rows": rows, "runs": results}
    write_json(out / "results.json", summary)
    write_text(out / "results.md", document(title, facts, rows, bool(curves)))
    return summary | {"table": table(rows)}


def _facts(setup: Setup, done: list[dict[str, Any]]) -> dict[str, str]:
    """What the figures have to be read with."""
    facts = {
        "data": setup.data if setup.test is None else f"{setup.data}, scored on {setup.test}",
        "clusters": f"{setup.num_clusters:,}",
        **({} if setup.recipe is None else {"recipe": setup.recipe}),
        "budget": budget_words(setup.minutes, setup.epochs, setup.steps),
        "defaults": "those of cdc, of center (anchor_weight, warmup) and of scan on a frozen backbone were chosen by "
        "labels, on images of Fashion-MNIST, CIFAR-10 and CIFAR-100 (docs/log.md)",
        "scored": "the last state of each training; labels score and do nothing else. Mean (standard deviation) over "
        "the seeds that are done",
    }
    if setup.given or setup.settings:
        changes = [f"{name}={value}" for name, value in setup.given.items()]
        facts["settings"] = ", ".join([*changes, *setup.settings])
    if not done:
        return facts
    first = done[0]
    facts["protocol"] = f"{first['protocol']}, {first['num_images']:,} images, {first['num_classes']} classes"
    tracks: list[str] = sorted({result["track"] for result in done} - {"none"})
    facts["track"] = "; ".join(notice(track).compared or track for track in tracks) or "unsupervised"
    machines = [result for result in done if result.get("epochs") is not None] or done
    facts |= machines[0]["machine"]
    # how a run was computed is worded otherwise where it was resumed
    kinds = {tuple(result["machine"].get(name) for name in ("processor", "cores", "torch")) for result in machines}
    if len(kinds) > 1:
        facts["machines"] = "not all runs were made on this one, or with these versions: see results.json"
    return facts
