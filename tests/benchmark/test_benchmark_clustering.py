"""A comparison from end to end on a few tiny images, and how it goes on after it was stopped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from likewise.benchmark import clustering, job
from likewise.benchmark.cli import app
from likewise.benchmark.clustering import benchmark
from likewise.benchmark.entries import Entry, Stage, ablations_named, entries_named, entry_named
from likewise.benchmark.job import STOPPED, Job, stage_recipe
from likewise.benchmark.setup import Setup
from likewise.benchmark.snapshots import Snapshots
from likewise.errors import InputError, RunError
from likewise.training.callbacks import Diverged

QUICK = ("training.batch_size=16", "training.precision=fp32", "data.image_size=16")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    labels = np.arange(64) % 2
    pixels = generator.integers(0, 60, (64, 16, 16)) + 150 * labels[:, None, None]
    path = tmp_path_factory.mktemp("benchmark") / "tiny.npz"
    np.savez(path, images=pixels.astype(np.uint8), labels=labels)
    return path


def setup_of(images: Path, **changes: object) -> Setup:
    return Setup(
        **{"data": str(images), "labels": "source", "num_clusters": 2, "epochs": 1, "settings": QUICK} | changes
    )  # type: ignore[arg-type]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs run here, where a start costs nothing; gives the names of those that were."""
    performed: list[str] = []

    def here(work: Job) -> None:
        performed.append(f"{work.entry.name}/{work.seed}")
        if job.main(work.to_json()) == STOPPED:
            raise RunError("stopped")

    monkeypatch.setattr(clustering, "_run_one", here)
    return performed


def test_methods_side_by_side(
    images: Path, tmp_path: Path, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    entries = entries_named("kmeans-pixels,scan")
    summary = benchmark("Small", setup_of(images), entries, 1, out)
    assert in_this_process == ["kmeans-pixels/0", "scan/0"]
    rows = {row["name"]: row for row in summary["rows"]}
    assert rows["kmeans-pixels"]["acc"]["mean"] == 1.0
    assert 0.5 <= rows["scan"]["acc"]["mean"] <= 1.0
    assert [run["status"] for run in summary["runs"]] == ["done", "done"]
    written = json.loads((out / "results.json").read_text())
    assert written["facts"]["protocol"] == "all, 64 images, 2 classes"
    assert "| scan |" in (out / "results.md").read_text()
    assert (out / "quality.svg").is_file()
    for stage, steps in ((1, 3), (2, 1)):  # .7 and .3 of an epoch of four steps
        folder = out / "scan" / "seed-0" / f"stage-{stage}"
        assert json.loads((folder / "metrics.json").read_text())["training"]["steps"] == steps
    curve = summary["runs"][1]["curve"]
    assert len(curve) == 4
    assert [point["seconds"] for point in curve] == sorted(point["seconds"] for point in curve)

    again = benchmark("Small", setup_of(images), entries, 1, out)
    assert len(in_this_process) == 2, "what has finished is kept"
    assert again["rows"] == summary["rows"]
    with pytest.raises(InputError, match=r"other settings.*epochs"):
        benchmark("Small", setup_of(images, epochs=2), entries, 1, out)
    monkeypatch.setattr(clustering, "__version__", "9.9")
    with pytest.raises(InputError, match=r"other settings \(version\)"):
        benchmark("Small", setup_of(images), entries, 1, out)


def test_stopped_diverged_and_failed_are_told_apart_and_gone_on_with(
    images: Path, tmp_path: Path, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = job.perform

    def perform(work: Job) -> dict[str, object]:
        if work.entry.name == "full" and len(in_this_process) < 4:
            raise {0: OSError("the disk is full"), 1: KeyboardInterrupt()}[work.seed]
        if work.entry.name == "raw-logits":
            raise Diverged("the training diverged")
        return {**dict.fromkeys(("acc", "nmi", "ari"), 0.5), **original(pixels_of(work))}

    monkeypatch.setattr(job, "perform", perform)
    entries = ablations_named("cdc", "full,raw-logits")
    with pytest.raises(RunError, match="stopped"):
        benchmark("Small", setup_of(images), entries, 2, tmp_path / "out")
    assert in_this_process == ["full/0", "raw-logits/0", "full/1"]
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["num_done"] for row in rows] == [0, 0]
    summary = benchmark("Small", setup_of(images), entries, 2, tmp_path / "out")
    assert in_this_process[3:] == ["full/0", "full/1", "raw-logits/1"], "a divergence is a result"
    assert [row["num_done"] for row in summary["rows"]] == [2, 0]
    assert "| raw-logits | diverged |" in summary["table"]


def pixels_of(work: Job) -> Job:
    """The job of the same seed that trains nothing."""
    return Job(work.setup, entries_named("kmeans-pixels")[0], work.seed, work.folder)


def test_other_images_are_scored(images: Path, tmp_path: Path, in_this_process: list[str]) -> None:
    entries = entries_named("kmeans-pixels,spectral-pixels,simclr")
    summary = benchmark("Small", setup_of(images, test=str(images)), entries, 1, tmp_path / "out")
    assert {run["protocol"] for run in summary["runs"]} == {"split"}
    assert [row["acc"]["mean"] for row in summary["rows"][:2]] == [1.0, 1.0]


@pytest.mark.parametrize("row", ["simclr-heads", "scan-heads"])
def test_heads_on_the_features_of_simclr(
    row: str, images: Path, tmp_path: Path, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.defaults.FROZEN_STEPS", 8)
    monkeypatch.setattr("likewise.defaults.FROZEN_EPOCHS", 1)
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    summary = benchmark("Small", setup_of(images), entries_named(row), 1, tmp_path / "out")
    (run,) = summary["runs"]
    assert run["status"] == "done"
    assert run["epochs"] == 1, "an epoch of SimCLR; what the heads see are features"
    assert "the best of 5 heads" in run["helped"]


def test_cdc_goes_on_with_near_images_as_positives(images: Path, tmp_path: Path, in_this_process: list[str]) -> None:
    summary = benchmark("Small", setup_of(images), entries_named("cdc-neighbors"), 1, tmp_path / "out")
    (run,) = summary["runs"]
    assert run["status"] == "done"
    assert "neighbours" in run["helped"]


def test_a_job_in_its_own_process_and_one_that_crashes(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = entries_named("kmeans-pixels")
    out = tmp_path / "out"
    assert benchmark("Small", setup_of(images), [entry], 1, out)["rows"][0]["acc"]["mean"] == 1.0
    monkeypatch.setattr("sys.executable", "/bin/false")
    summary = benchmark("Small", setup_of(images), [entry], 2, out)
    assert summary["rows"][0]["num_done"] == 1
    assert "status 1" in summary["rows"][0]["failures"][0]["error"]


def test_a_training_in_its_own_process_for_a_time(images: Path, tmp_path: Path) -> None:
    setup = setup_of(images, epochs=None, minutes=0.05)
    summary = benchmark("Small", setup, entries_named("cdc"), 1, tmp_path / "out")
    (run,) = summary["runs"]
    assert run["status"] == "done", run
    assert run["peak_memory_mb"] > 100
    assert run["images_per_second"] > 0
    assert run["epochs"] > 0
    assert run["seconds"] > 1
    assert run["curve"]
    assert (tmp_path / "out" / "quality.svg").is_file()
    assert "| cdc |" in (tmp_path / "out" / "results.md").read_text()


def test_a_training_off_its_budget_says_so(images: Path, tmp_path: Path) -> None:
    work = Job(setup_of(images, epochs=None, minutes=10), entry_named("scan"), 0, tmp_path)

    def said(seconds: float) -> list[str]:  # of both stages
        return job._off_budget(work, [{"images_per_second": 100.0}] * 2, [round(50 * seconds)] * 2)

    assert said(600) == said(650) == []
    (warning,) = said(900)
    assert "took 15 min" in warning
    assert "planned for 10 min" in warning
    assert said(300)
    within = Job(setup_of(images, epochs=None, minutes=10), entry_named("simclr-heads"), 0, tmp_path)
    assert not job._off_budget(within, [{"images_per_second": 100.0}] * 2, [60_000, 90_000])  # heads are beside it
    assert not job._off_budget(replace(work, setup=setup_of(images)), [{"images_per_second": 1.0}] * 2, [5, 5])


def test_a_job_survives_its_way_to_the_process(tmp_path: Path, images: Path) -> None:
    work = Job(setup_of(images), Entry("x", "y", (Stage(0.5, ("a=1",)), Stage(0.5, ()))), 3, tmp_path)
    assert Job.from_json(work.to_json()) == work


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({"labels": "folders"}, "cdc", "top folder"),
        ({"num_clusters": 1}, "cdc", "at least 2"),
        ({"settings": ("training.steps=3",)}, "cdc", "options of their own"),
        ({"settings": ("method.settings.epsilon=0.1",)}, "cdc,simclr", "epsilon"),
        ({"settings": ("method.settings.assignment_temperature=abc",)}, "cdc", "assignment_temperature = 'abc'"),
        ({"settings": ("method.settings.instance_weight=abc",)}, "kmeans-pixels,center", "instance_weight = 'abc'"),
        ({"settings": ("cdc:method.settings.assignment_temperature=[1]",)}, "simclr,cdc", "assignment_temperature ="),
        ({"settings": ("cdc:method.settings.frame=[]",)}, "cdc", "frame ="),
        ({"settings": ("training={steps=3}",)}, "cdc", "one at a time, such as --set training.weight_decay=1e-4"),
        ({"settings": ("cdc:model={frozen=true}",)}, "cdc", "model is a section"),
        ({"settings": ("method={name='simclr'}",)}, "cdc", "such as --set cdc:method.settings"),
        ({"settings": ("method.settings={}",)}, "cdc", "method.settings is a section"),
        ({"settings": ("cdc:views.blur=0.5",)}, "cdc,simclr", "for all rows; give --set views.blur=0.5"),
        ({"settings": ("scan:training.momentum=0.5",)}, "cdc,simclr", "trains scan, they train cdc, simclr; leave"),
        ({"settings": ("scan:training.momentum=0.5",)}, "kmeans-pixels", "they train nothing"),
        ({"settings": ("training.seed=1",)}, "cdc", "--epochs, --seeds, -k"),
        ({"settings": ("stage.name=self-label",)}, "cdc", "choose them by --methods"),
        ({}, "cdc+self-label+x", "unknown"),
    ],
)
def test_what_cannot_be_done_is_said_first(
    changes: dict[str, object], names: str, message: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        benchmark("Small", setup_of(images, **changes), entries_named(names), 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_upper_bound_learns_from_labels(images: Path, tmp_path: Path, in_this_process: list[str]) -> None:
    summary = benchmark("Small", setup_of(images, epochs=8), entries_named("supervised,simclr"), 1, tmp_path / "out")
    assert [run["status"] for run in summary["runs"]] == ["done", "done"]
    assert summary["rows"][0]["acc"]["mean"] == 1.0
    assert summary["facts"]["track"] == "unsupervised, but for the row supervised"
    assert summary["runs"][0]["track"] == "supervised"


def test_a_setting_may_be_of_one_method(images: Path, tmp_path: Path) -> None:
    own = "cdc:method.settings.frame=moco-v2", "simclr:training.learning_rate=0.05"
    setup = setup_of(images, settings=(*QUICK, *own))
    found = {
        (entry.name, stage.method): stage_recipe(Job(setup, entry, 0, tmp_path), stage, None)
        for entry in entries_named("cdc,simclr,scan,center")
        for stage in entry.stages
    }
    frames = {name: recipe.method.settings.get("frame") for name, recipe in found.items()}
    assert {name for name, frame in frames.items() if frame == "moco-v2"} == {("cdc", "cdc")}
    rates = {name for name, recipe in found.items() if recipe.training.learning_rate == 0.05}
    assert rates == {("simclr", "simclr"), ("scan", "simclr")}
    own = ("training.learning_rate=0.3", "scan:training.learning_rate=.01", "scan:training.optimizer=sgd")
    setup = setup_of(images, settings=own)
    (scan,) = entries_named("scan")
    _, stage = [stage_recipe(Job(setup, scan, 0, tmp_path), stage, None).training for stage in scan.stages]
    assert (stage.learning_rate, stage.optimizer, stage.weight_decay) == (0.01, "sgd", 1e-4)
    with pytest.raises(InputError, match="Did you mean 'cdc'"):
        benchmark("Small", setup_of(images, settings=("cdd:training.seed=1",)), entries_named("cdc"), 1, tmp_path / "x")
    shared = setup_of(images, settings=("cdc:model.frozen=true",))
    with pytest.raises(InputError, match="the same for all rows"):
        benchmark("Small", shared, entries_named("cdc"), 1, tmp_path / "x")
    moco = setup_of(images, settings=(*QUICK, "method.settings.frame=moco-v2"))
    with pytest.raises(InputError, match="unknown setting of center"):
        benchmark("Small", moco, entries_named("center"), 1, tmp_path / "x")
    with pytest.raises(InputError, match="options of their own"):
        benchmark("Small", setup_of(images, settings=("cdc:training.seed=1",)), entries_named("cdc"), 1, tmp_path / "x")


def test_where_self_labelling_is_refused_the_run_before_it_is_scored(
    images: Path, tmp_path: Path, in_this_process: list[str]
) -> None:
    setup = setup_of(images, settings=(*QUICK, "stage.settings.threshold=0.9999"))
    summary = benchmark("Small", setup, entries_named("cdc+self-label"), 1, tmp_path / "out")
    (run,) = summary["runs"]
    assert run["status"] == "done"
    assert "refused: no image" in run["warnings"][0]
    assert "self-labelling was refused for 1 of 1 seeds" in summary["rows"][0]["about"]
    assert "of center (anchor_weight, warmup)" in summary["facts"]["defaults"]
    assert run["epochs"] == 0.75  # three of four steps


def test_rows_are_told_as_what_they_are(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fitting(names: list[Entry], **changes: object) -> dict[str, Entry]:
        return {entry.name: entry for entry in clustering._fitting(names, setup_of(images, **changes))}

    own = ablations_named("cdc", "full,new-heads,one-head,no-neighbors")
    assert list(fitting(own)) == ["full", "new-heads"]
    assert "left out" in capsys.readouterr().err
    moco = (*QUICK, "method.settings.frame=moco-v2")
    assert list(fitting(own[:2], settings=moco)) == ["full"]
    assert "only a training in the in-batch frame ends with new heads: new-heads" in capsys.readouterr().err
    with pytest.raises(InputError, match="left to compare: new-heads, since only a training in the in-batch"):
        fitting(own[1:2], settings=moco)
    with pytest.raises(InputError, match="one-head, since only a frozen backbone"):
        fitting(own[2:])
    assert fitting(own)["full"].published == ".830"
    frozen = (*QUICK, "model.frozen=true", "model.weights=none", "model.backbone=resnet9")
    assert list(fitting(own, settings=frozen)) == ["full", "one-head", "no-neighbors"]
    assert fitting(own, settings=frozen)["full"].published == ""  # the paper's are of a network that was trained
    assert list(fitting(entries_named("cdc,cdc-no-neighbors"), settings=frozen)) == ["cdc", "cdc-no-neighbors"]
    assert list(fitting(entries_named("cdc,cdc-no-neighbors,simclr-neighbors"))) == ["cdc", "simclr-neighbors"]
    assert list(fitting(entries_named("cdc,cdc-one-head"))) == ["cdc", "cdc-one-head"]
    assert list(fitting(entries_named("cdc,cdc-one-head"), settings=moco)) == ["cdc"]  # there is one anyway
    with pytest.raises(InputError, match="nothing that self-label could train"):
        fitting(entries_named("simclr+self-label"), settings=frozen)
    bound = entries_named("supervised")
    assert "very images" in fitting(bound)["supervised"].about
    assert "very images" not in fitting(bound, test=str(images))["supervised"].about


def test_not_under_torchrun(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(InputError, match="without torchrun"):
        benchmark("Small", setup_of(images), entries_named("kmeans-pixels"), 1, tmp_path / "out")


def test_the_upper_bound_needs_labels_of_what_it_trains_on(images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\n" + "".join(f"{n},{n % 3}\n" for n in range(64)))
    setup = setup_of(images, labels=str(tmp_path / "labels.csv"))
    with pytest.raises(InputError, match=r"a cluster for each class.*have 3, and -k is 2"):
        benchmark("Small", setup, entries_named("supervised"), 1, tmp_path / "out")


@pytest.mark.parametrize("test", [False, True])
def test_ablations_have_a_linear_probe(images: Path, tmp_path: Path, in_this_process: list[str], test: bool) -> None:
    setup = setup_of(images, test=str(images) if test else None)
    summary = benchmark("Small", setup, ablations_named("cdc", "full"), 1, tmp_path / "out", pin="cdc")
    (run,) = summary["runs"]
    assert run["status"] == "done"
    assert 0.5 < run["linear"] <= 1
    assert run["geometry"].keys() == {"backbone", "instance", "representation"}
    assert "linear probe" in summary["table"].splitlines()[0].split(" | ")


@pytest.mark.parametrize("names", ["cdc", "moco-v2", "center+self-label", "cdc+self-label"])
def test_every_kind_of_entry_runs(names: str, images: Path, tmp_path: Path, in_this_process: list[str]) -> None:
    easier = (*QUICK, "stage.settings.threshold=0.01", "stage.settings.allow_fewer_clusters=true")
    settings = easier if "self-label" in names else QUICK
    summary = benchmark("Small", setup_of(images, settings=settings), entries_named(names), 1, tmp_path / "out")
    assert [run["status"] for run in summary["runs"]] == ["done"], summary["runs"]


def test_the_commands(images: Path, tmp_path: Path, in_this_process: list[str]) -> None:
    common = ["--data", str(images), "--labels", "source", "-k", "2", "--epochs", "1", "--seeds", "1"]
    common += [word for setting in QUICK for word in ("--set", setting)]

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, *common])

    done = run("clustering", "--methods", "kmeans-pixels", "-o", str(tmp_path / "one"))
    assert done.exit_code == 0, done.output
    assert "| kmeans-pixels | 1.000 |" in done.output
    done = run("ablation", "--method", "center", "--switches", "no-anchor", "-o", str(tmp_path / "two"))
    assert done.exit_code == 0, done.output
    assert "| no-anchor |" in done.output
    setup = json.loads((tmp_path / "two" / "benchmark.json").read_text())
    assert setup["given"]["method.settings.anchor_weight"] == 0.1
    assert in_this_process == ["kmeans-pixels/0", "no-anchor/0"]
    both = run("clustering", "--minutes", "1", "-o", str(tmp_path / "three"))
    assert isinstance(both.exception, InputError)
    for setting in ("method.settings.assignment_temperature=abc", "method=5", "training.minutes=3"):
        wrong = run("ablation", "--set", setting, "-o", str(tmp_path / "three"))
        assert isinstance(wrong.exception, InputError)
        assert setting.partition("=")[0].rpartition(".")[2] in str(wrong.exception)


def test_the_commands_with_a_recipe(images: Path, tmp_path: Path, in_this_process: list[str]) -> None:
    recipe = tmp_path / "mine.toml"
    text = (
        "[data]\nimage_size = 16\n[method]\nnum_clusters = 2\n"
        "settings = {assignment_temperature = 0.1, epsilon = 0.05}\n"
        "[training]\nsteps = 4\nbatch_size = 16\nprecision = 'fp32'\n"
    )
    recipe.write_text(text)
    common = ["--recipe", str(recipe), "--data", str(images), "--labels", "source", "--seeds", "1"]

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, *common])

    out = tmp_path / "out"
    done = run("ablation", "--switches", "hard-assignments,full", "-o", str(out))
    assert done.exit_code == 0, done.output
    assert in_this_process == ["full/0"], "the other one is the same under this recipe"
    facts = json.loads((out / "results.json").read_text())["facts"]
    assert (facts["recipe"], facts["clusters"]) == (str(recipe), "2")
    assert facts["budget"].startswith("4 steps of training")
    assert json.loads((out / "benchmark.json").read_text())["recipe"] == str(recipe)
    recipe.write_text(text.replace("steps = 4", "steps = 4\nmomentum = 0.5"))
    changed = run("ablation", "--switches", "full", "-o", str(out))
    assert "other settings (recipe_tables)" in str(changed.exception)
    done = run("clustering", "--methods", "kmeans-pixels,simclr", "--epochs", "1", "-o", str(tmp_path / "two"))
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "two" / "results.json").read_text())["setup"]["steps"] is None
    recipe.write_text(text.replace("num_clusters = 2", ""))
    assert "how many groups" in str(run("ablation", "-o", str(out)).exception)


@pytest.mark.parametrize(
    "content",
    [
        '{"entry": "kmeans-pixels", "seed": 0, "status": []}',
        '{"entry": "kmeans-pixels", "seed": 0, "status": "done"}',
        '{"entry": "kmeans-pixels", "seed": 0, "status": "diverged"}',
        '{"entry": "cdc", "seed": 0, "status": "failed", "error": ""}',
        "[" * 100_000,
    ],
)
def test_a_result_that_no_job_has_written_is_made_anew(
    content: str, images: Path, tmp_path: Path, in_this_process: list[str]
) -> None:
    setup = setup_of(images)
    (tmp_path / "out").mkdir()
    clustering._claim(tmp_path / "out", setup)
    (tmp_path / "out" / "kmeans-pixels").mkdir()
    (tmp_path / "out" / "kmeans-pixels" / "seed-0.json").write_text(content)
    summary = benchmark("Small", setup, entries_named("kmeans-pixels"), 1, tmp_path / "out")
    assert summary["rows"][0]["acc"]["mean"] == 1.0


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"not a zip"])
def test_damaged_snapshots_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "snapshots.npz").write_bytes(content)
    assert Snapshots(tmp_path, 2).read() == []
