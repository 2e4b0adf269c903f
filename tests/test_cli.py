"""The command line as a person meets it: in a process of its own, with exit codes and words."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from likewise.cli import app, main

COMMANDS = ["cluster", "train", "assign", "evaluate", "analyze", "report", "export", "name", "list", "demo"]
SMALL = ["--set", "training.steps=6", "--set", "method.settings.hidden_dim=32", "--batch-size", "16"]


def likewise(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    words = [sys.executable, "-W", "error::DeprecationWarning:likewise", "-m", "likewise", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


def run_here(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in this process, through the same door; gives exit code, output and errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["likewise", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "my photos"
    generator = np.random.default_rng(0)
    for number in range(40):
        path = folder / ("left", "right")[number % 2] / f"{number} \"q\" 'é'.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 120, (16, 16, 3)) + 100 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    run = tmp_path_factory.mktemp("finished") / "run"
    return run, likewise("cluster", photos, "-k", 2, "-o", run, *SMALL)


def test_the_main_job_in_a_pipe(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run, result = finished
    assert result.returncode == 0, result.stderr
    assert "40 images in 2 clusters" in result.stdout
    assert f"report: {run}/report.html" in result.stdout
    assert (run / "report.html").is_file()
    assert "\x1b" not in result.stdout + result.stderr, "escape sequences have no place in a pipe"
    assert "Traceback" not in result.stderr


def test_assign_prints_a_table_and_nothing_else(
    finished: tuple[Path, subprocess.CompletedProcess[str]], photos: Path
) -> None:
    result = likewise("assign", finished[0], photos / "left", "--probabilities")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 20
    assert {row["cluster"] for row in rows} <= {"0", "1"}
    assert float(rows[0]["probability_0"]) + float(rows[0]["probability_1"]) == pytest.approx(1, abs=1e-4)


def test_what_comes_after_a_run(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = finished[0]
    code, output, _ = run_here("evaluate", run, "--labels", "folders", capsys=capsys)
    assert code == 0
    assert "K-means on pixels" in output
    code, output, _ = run_here("analyze", run, "--labels", "folders", capsys=capsys)
    assert code == 0
    assert "class left in z_n" in output
    assert run_here("report", run, capsys=capsys)[0] == 0
    code, output, _ = run_here("name", run, "0=dark ones", "1=bright ones", capsys=capsys)
    assert code == 0
    assert "dark ones" in output
    assert "dark ones" in (run / "report.html").read_text(encoding="utf-8")
    code, output, _ = run_here("assign", run, photos / "left", capsys=capsys)
    assert {row["name"] for row in csv.DictReader(io.StringIO(output))} <= {"dark ones", "bright ones"}
    kept = (run / "names.json").read_text(encoding="utf-8")
    (run / "names.json").write_text('{"0": "a/b"}')
    code, output, errors = run_here("assign", run, photos / "left", capsys=capsys)
    assert (code, output, "delete it to go on without them" in errors) == (2, "", True)
    (run / "names.json").write_text(kept, encoding="utf-8")
    code, output, _ = run_here("name", run, "0=", "1=", capsys=capsys)
    assert "ones" not in output
    assert not (run / "names.json").exists()
    code, _, errors = run_here("name", run, "7=x", capsys=capsys)
    assert (code, "there is no cluster 7" in errors) == (2, True)
    assert run_here("export", run, "--to", tmp_path / "sorted", "--csv", tmp_path / "t.csv", capsys=capsys)[0] == 0
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 40
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 41
    arrays = tmp_path / "new.npz"
    code, _, errors = run_here("embed", run, photos / "left", "-o", arrays, capsys=capsys)
    assert code == 0, errors
    with np.load(arrays) as made:
        assert len(made["names"]) == 20
        assert made["categorical"].shape == (20, 2)
        assert np.array_equal(made["categorical"].argmax(1), made["clusters"])
        assert made["features"].shape[0] == made["instance"].shape[0] == 20
    for taken, words in ((arrays, "nothing is overwritten"), (tmp_path / "new.csv", "written as .npz")):
        code, _, errors = run_here("embed", run, photos / "left", "-o", taken, capsys=capsys)
        assert code == 2
        assert words in errors
    code, _, errors = run_here("export", run, "--to", tmp_path / "sorted", capsys=capsys)
    assert code == 2
    assert "nothing is overwritten" in errors
    code, _, errors = run_here("cluster", photos, "-k", 2, "-o", run, capsys=capsys)
    assert code == 2
    assert "holds a run already" in errors
    code, _, errors = run_here("cluster", "--resume", "-o", run, capsys=capsys)
    assert code == 2
    assert "has finished" in errors


def test_train_goes_on_from_a_run(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, run = finished[0], tmp_path / "run"
    stage = ["--stage", "self-label", "--epochs", 1, "--seed", 4, "--set", "stage.settings.threshold=0.4"]
    fewer = ["--set", "stage.settings.allow_fewer_clusters=true"]
    code, output, errors = run_here("train", "--from", start, *stage, *fewer, "-o", run, capsys=capsys)
    assert code == 0, errors
    assert "self-labelling: 40 of 40 images (100 %)" in errors
    assert "40 images in 2 clusters" in output
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    assert (recipe["stage"]["name"], recipe["model"]["start"]) == ("self-label", str(start))
    assert (recipe["training"]["seed"], recipe["training"]["batch_size"]) == (4, 40)
    code, _, errors = run_here("train", "--from", start, *stage, "-o", run, capsys=capsys)
    assert code == 2
    assert "holds a run already" in errors
    code, _, errors = run_here("train", "--from", start, "--stage", "self-lable", "-o", tmp_path / "x", capsys=capsys)
    assert code == 2
    assert "Did you mean 'self-label'" in errors
    code, _, errors = run_here("train", "cifar10-cpu", "--frozen", "-o", tmp_path / "x", capsys=capsys)
    assert code == 2
    assert "--from RUN" in errors
    head = tmp_path / "head"
    short = ["--epochs", 1, "--set", "model.cached_views=2"]
    code, _, errors = run_here("train", "--from", start, "--frozen", *short, "-o", head, capsys=capsys)
    assert code == 0, errors
    recipe = tomllib.loads((head / "recipe.toml").read_text())
    assert (recipe["model"]["frozen"], recipe["training"]["neighbors"], recipe["training"]["heads"]) == (True, 4, 5)


def test_train_takes_a_recipe_and_other_images(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", photos, "--views", "gentle", "-o", tmp_path / "run", *SMALL[:4]]
    small = ["--set", "training.batch_size=16", "--set", "training.precision=fp32"]
    code, _, errors = run_here("train", "fashion-mnist-demo", *arguments, *small, capsys=capsys)
    assert code == 0, errors
    recipe = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert recipe["data"]["source"] == str(photos)
    assert recipe["views"]["crop_scale"] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cluster"], 2, "-o"),
        (["cluster", "-o", "run"], 2, "which images"),
        (["cluster", "PHOTOS", "-o", "run"], 2, "-k"),
        (["cluster", "PHOTOS", "-k", "1", "-o", "run"], 2, "at least 2"),
        (["cluster", "PHOTOS", "-k", "21", "-o", "run"], 2, "40 images are too few for 21 clusters"),
        (["cluster", "PHOTOS", "-k", "2", "--batch-size", "64", "-o", "run"], 2, "training.batch_size=40"),
        (["cluster", "PHOTOS", "-k", "2", "--minutes", "1", "--epochs", "1", "-o", "run"], 2, "one of them"),
        (["cluster", "PHOTOS", "-k", "2", "-o", "run", "--set", "training.sede=1"], 2, "training.seed"),
        (["cluster", "PHOTOS", "-k", "2", "-o", "run", "--recipe", "fashion-demo"], 2, "fashion-mnist-demo"),
        (["cluster", "PHOTOS", "-k", "2", "-o", "run", "--precision", "fp8"], 2, "precision"),
        (["cluster", "EMPTY", "-k", "2", "-o", "run"], 2, "no images"),
        (["cluster", "nowhere", "-k", "2", "-o", "run"], 2, "nowhere"),
        (["cluster", "BROKEN", "-k", "2", "-o", "run", "--strict"], 2, "broken.png"),
        (["cluster", "PHOTOS", "-k", "two", "-o", "run"], 2, "-k"),
        (["cluster", "--resume", "-o", "run"], 2, "no run"),
        (["train", "fashion-mnist-demo"], 2, "-o"),
        (["train", "-o", "run"], 2, "--from RUN"),
        (["train", "fashion-demo", "-o", "run"], 2, "fashion-mnist-demo"),
        (["train", "imagenette-cpu", "-o", "run"], 2, "--data PATH"),
        (["train", "--from", "nowhere", "-o", "run"], 2, "no run in nowhere"),
        (
            ["train", "cifar10-cpu", "--data", "PHOTOS", "--stage", "self-label", "-o", "run"],
            2,
            "--from RUN",
        ),
        (["train", "fashion-mnist-demo", "--minutes", "1", "--epochs", "1", "-o", "run"], 2, "one of them"),
        (["train", "--resume", "-o", "run"], 2, "no run"),
        (["assign", "nowhere", "PHOTOS"], 2, "no run in nowhere"),
        (["evaluate", "nowhere", "--labels", "folders"], 2, "no run in nowhere"),
        (["analyze", "nowhere"], 2, "no run in nowhere"),
        (["report", "nowhere"], 2, "no run in nowhere"),
        (
            ["assign", "nowhere", "PHOTOS", "-o", "table.txt"],
            2,
            "-o table.txt: the table is written as .csv or .parquet",
        ),
        (["export", "nowhere", "--to", "x"], 2, "no run in nowhere"),
        (["list", "recipe"], 2, "recipes"),
        (["clutser"], 2, "cluster"),
    ],
)
def test_what_was_asked_wrongly_is_said(
    arguments: list[str],
    code: int,
    message: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (number * 60, 0, 0)).save(broken / f"{number}.png")
    (broken / "broken.png").write_bytes(b"no image")
    places = {"PHOTOS": str(photos), "EMPTY": str(tmp_path / "empty"), "BROKEN": str(broken)}
    got, _, errors = run_here(*[places.get(word, word) for word in arguments], capsys=capsys)
    assert got == code
    assert message in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"likewise {command}" in result.output.replace("\n", " ")


@pytest.mark.parametrize("table", ["methods", "stages", "backbones", "data", "views", "recipes"])
def test_lists(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = run_here("list", table, capsys=capsys)
    assert code == 0
    assert output.strip()


def test_help_does_not_wait_for_torch() -> None:
    probe = """
import sys
sys.argv = ["likewise", "--help"]
from likewise.cli import main
try:
    main()
except SystemExit:
    pass
assert not {"torch", "lightning", "sklearn", "numpy", "pydantic"} & set(sys.modules), "heavy import"
"""
    subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("begun", "said"), [(True, "likewise cluster --resume -o"), (False, "stopped before anything")]
)
def test_ctrl_c_outside_of_the_training_says_how_to_go_on(
    begun: bool,
    said: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object) -> None:
        if begun:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "recipe.toml").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr("likewise.workflow.cluster", stopped)
    code, _, errors = run_here("cluster", photos, "-k", 2, "-o", tmp_path / "run", capsys=capsys)
    assert code == 1
    assert said in errors


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_result(photos: Path, tmp_path: Path) -> None:
    slow = ["--set", "training.steps=60", "--set", "method.settings.hidden_dim=32", "--batch-size", "20", "-k", "2"]
    words = [sys.executable, "-m", "likewise", "cluster", str(photos), *slow, "-o", str(tmp_path / "run")]
    # a shell starts what runs in the background with Ctrl-C switched off
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "likewise cluster --resume" in errors
    assert "Traceback" not in errors
    resumed = likewise("cluster", photos, "-k", 3, "--minutes", 9, "--resume", "-o", tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    assert "left aside: PATH, --clusters, --minutes" in resumed.stderr
    assert "resuming after step" in resumed.stderr
    whole = likewise("cluster", photos, *slow, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == other
