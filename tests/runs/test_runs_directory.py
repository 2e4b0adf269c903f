"""What state a run directory is in, what it says of it, and what it gives back of what was written."""

from pathlib import Path

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.runs import Assignments, RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def start(run: RunDirectory) -> None:
    run.path.mkdir(exist_ok=True)
    run.recipe_file.write_text("")


def complete(run: RunDirectory) -> None:
    start(run)
    run.model_file.write_bytes(b"")
    Assignments.from_probabilities(["a"], np.array([[0.75, 0.25]])).write(run.assignments_file)
    run.write_metrics({"finished": "now"})


def message(action: object) -> str:
    with pytest.raises(InputError) as caught:
        action()  # type: ignore[operator]
    return str(caught.value)


def test_absent(run: RunDirectory) -> None:
    run.require_new()
    assert not run.path.exists()
    assert (run.is_started, run.is_complete) == (False, False)
    text = message(run.require_complete)
    assert text == f"there is no run in {run.path}; make one with `likewise cluster IMAGES -k 10 -o {run.path}`."


def test_an_empty_folder_is_new(run: RunDirectory) -> None:
    run.path.mkdir()
    run.require_new()
    assert "there is no run" in message(run.require_complete)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden"])
def test_a_folder_with_anything_in_it_is_not_new(run: RunDirectory, name: str) -> None:
    run.path.mkdir()
    (run.path / name).touch()
    assert message(run.require_new) == (
        f"{run.path} is not empty, and a run overwrites nothing; choose another place with -o."
    )


def test_a_file_is_not_new(run: RunDirectory) -> None:
    run.path.touch()
    assert message(run.require_new) == f"{run.path} is a file; choose another place for the run with -o."
    assert "there is no run" in message(run.require_complete)


def test_started(run: RunDirectory) -> None:
    start(run)
    assert (run.is_started, run.is_complete) == (True, False)
    assert message(run.require_complete) == (
        f"the run in {run.path} has not finished; continue it with `likewise cluster --resume -o {run.path}`."
    )
    assert message(run.require_new) == (
        f"{run.path} holds a run already; continue it with --resume, or choose another place with -o."
    )


def test_complete(run: RunDirectory) -> None:
    complete(run)
    assert run.require_complete() is run
    assert run.metrics() == {"finished": "now"}
    assert "holds a run already" in message(run.require_new)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("metrics_file", "has not finished"),
        ("assignments_file", "assignments.parquet is missing"),
        ("model_file", "model.safetensors is missing"),
    ],
)
def test_a_run_without_one_of_its_parts_is_not_complete(run: RunDirectory, missing: str, said: str) -> None:
    complete(run)
    getattr(run, missing).unlink()
    assert not run.is_complete
    assert said in message(run.require_complete)


def test_nothing_is_there_before_it_is_written(run: RunDirectory) -> None:
    assert run.metrics() == {}
    assert run.log() == {}
    assert run.thumbnails() == {}
    assert run.skipped() == []
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"{", "is not JSON"), (b"\xff\xfe", "is not JSON"), (b"[1, 2]", "does not hold a table of numbers")],
)
def test_damaged_metrics(run: RunDirectory, content: bytes, expected: str) -> None:
    run.path.mkdir()
    run.metrics_file.write_bytes(content)
    text = message(run.metrics)
    assert expected in text
    assert str(run.metrics_file) in text
    assert "the run directory is damaged" in text


def test_log_has_nan_in_its_gaps(run: RunDirectory) -> None:
    run.path.mkdir()
    # the last line was cut off as it was written
    run.log_file.write_text("step,loss,lr\n10,1.5,0.1\n20,,0.2\n30,nan,x\n40,2")
    log = run.log()
    assert list(log) == ["step", "loss", "lr"]
    assert all(column.dtype == np.float64 for column in log.values())
    np.testing.assert_array_equal(log["step"], [10, 20, 30, 40])
    np.testing.assert_array_equal(log["loss"], [1.5, np.nan, np.nan, 2])
    np.testing.assert_array_equal(log["lr"], [0.1, 0.2, np.nan, np.nan])


@pytest.mark.parametrize("content", ["", "step,loss\n"])
def test_log_without_rows(run: RunDirectory, content: str) -> None:
    run.path.mkdir()
    run.log_file.write_text(content)
    assert run.log() == {}


def test_log_leaves_out_what_has_no_column(run: RunDirectory) -> None:
    run.path.mkdir()
    run.log_file.write_text("step,loss\n10,1.5,7,8\n20,1.25\n")
    assert {name: column.tolist() for name, column in run.log().items()} == {"step": [10, 20], "loss": [1.5, 1.25]}


def test_features(run: RunDirectory) -> None:
    values = np.random.default_rng(0).random((5, 3))
    run.write_features("instance", values)
    read = run.features("instance")
    assert isinstance(read, np.memmap)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float32))
    run.write_features("instance", values[:2])
    assert run.features("instance").shape == (2, 3)
    assert [path.name for path in (run.path / "features").iterdir()] == ["instance.npy"]


def test_features_are_never_unpickled(run: RunDirectory) -> None:
    (run.path / "features").mkdir(parents=True)
    np.save(run.path / "features" / "backbone.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="object"):
        run.features("backbone")


def test_damaged_features(run: RunDirectory) -> None:
    with pytest.raises(InputError, match="damaged"):
        run.features("backbone")
    (run.path / "features").mkdir(parents=True)
    for content in (b"", b"\x93NUMPY\x01\x00", b"no array"):
        (run.path / "features" / "backbone.npy").write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            run.features("backbone")


def test_skipped_images_of_a_stranger(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    run.skipped_file.write_text("what,why\na,b\n", encoding="utf-8")
    assert run.skipped() == [("", "")]


def test_skipped(run: RunDirectory) -> None:
    skipped = [("a, b.png", "is empty"), ('"c"\nd.png', "is no image: é"), ("e\r.png", "")]
    run.write_skipped(skipped)
    assert run.skipped() == skipped
    run.write_skipped([])
    assert run.skipped() == []


def test_features_that_contradict_the_table_are_refused(run: RunDirectory) -> None:
    run.write_features("backbone", np.zeros((5, 3)))
    assert run.features("backbone", 5).shape == (5, 3)
    assert "5 rows for 6 images" in message(lambda: run.features("backbone", 6))
    np.save(run.path / "features" / "backbone.npy", np.zeros(5))
    assert "shape [5]" in message(lambda: run.features("backbone"))
    with (run.path / "features" / "backbone.npy").open("wb") as file:
        np.savez(file, np.zeros((5, 3)))
    assert "cannot be read as features" in message(lambda: run.features("backbone"))
