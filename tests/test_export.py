"""Export: every image into the folder of its cluster, and never anything else anywhere else."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likewise.cli import results as commands
from likewise.config import Recipe
from likewise.errors import InputError, RunError
from likewise.export import MODES, _inside, export_folders
from likewise.runs import Assignments, RunDirectory
from likewise.runs.names import write_names


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of pictures, two of which have the same name in different folders."""
    folder = tmp_path / "images"
    for index, name in enumerate(("a.png", "b.png", "sub/a.png", "sub/deep er/é,1.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (index, 0, 0)).save(folder / name)
    return folder


NAMES = ["a.png", "b.png", "sub/a.png", "sub/deep er/é,1.png"]


def new_run(
    path: Path, source: Path | str, names: list[str], clusters: list[int], num_clusters: int = 2
) -> RunDirectory:
    """A run that is complete as far as an export looks."""
    run = RunDirectory(path)
    recipe = Recipe()
    recipe.data.source = str(source)
    path.mkdir()
    run.recipe_file.write_text(recipe.to_toml(), encoding="utf-8")
    run.model_file.touch()
    probabilities = np.full((len(names), num_clusters), 0.1, np.float32)
    probabilities[np.arange(len(names)), clusters] = 0.9
    Assignments.from_probabilities(names, probabilities).write(run.assignments_file)
    run.write_metrics({})
    return run


@pytest.fixture
def run(tmp_path: Path, images: Path) -> RunDirectory:
    return new_run(tmp_path / "run", images, NAMES, [0, 1, 0, 1])


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("mode", MODES)
def test_export(mode: str, run: RunDirectory, images: Path, tmp_path: Path) -> None:
    to = tmp_path / "new" / "sorted"
    assert export_folders(run, to, mode) == 4  # type: ignore[arg-type]
    placed = {name: f"cluster_{index % 2}/{name}" for index, name in enumerate(NAMES)}
    assert files(to) == {place: (images / name).read_bytes() for name, place in placed.items()}
    for name, place in placed.items():
        assert (to / place).is_symlink() == (mode == "symlink")
        assert (to / place).samefile(images / name) == (mode != "copy")
        if mode == "symlink":
            assert (to / place).readlink() == images / name


def test_an_empty_folder_will_do(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "sorted").mkdir()
    assert export_folders(run, tmp_path / "sorted") == 4


def test_nothing_is_overwritten(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").touch()
    export_folders(run, tmp_path / "twice")
    for name in ("file", "full", "twice", "run", "images"):
        before = files(tmp_path)
        with pytest.raises(InputError) as caught:
            export_folders(run, tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name} is there already, and nothing is overwritten; choose a new folder."
        )
        assert files(tmp_path) == before


@pytest.mark.parametrize(("num_clusters", "folder"), [(10, "cluster_3"), (11, "cluster_03"), (1001, "cluster_0003")])
def test_folders_sort_by_number(num_clusters: int, folder: str, images: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", images, ["a.png"], [3], num_clusters)
    export_folders(run, tmp_path / "to")
    assert list(files(tmp_path / "to")) == [f"{folder}/a.png"]


def test_names_that_collide_get_a_number(images: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("images/a.png\n./images/a.png\nimages/../images/b.png\nimages/images/b.png\n")
    (images / "images").mkdir()
    (images / "images" / "b.png").write_bytes((images / "sub" / "a.png").read_bytes())
    names = (tmp_path / "list.txt").read_text().splitlines()
    run = new_run(tmp_path / "run", tmp_path / "list.txt", names, [0, 0, 0, 0])
    assert export_folders(run, tmp_path / "to") == 4
    assert files(tmp_path / "to") == {
        "cluster_0/images/a.png": (images / "a.png").read_bytes(),
        "cluster_0/images/a-2.png": (images / "a.png").read_bytes(),
        "cluster_0/images/images/b.png": (images / "b.png").read_bytes(),
        "cluster_0/images/images/b-2.png": (images / "sub" / "a.png").read_bytes(),
    }


def test_a_list_with_steps_upwards_and_absolute_paths_stays_inside(images: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    names = ["../images/a.png", str(images / "b.png"), f"/{images}/sub/a.png"]
    assert names[2].startswith("//")
    (tmp_path / "lists" / "list.txt").write_text("\n".join(names))
    run = new_run(tmp_path / "run", tmp_path / "lists" / "list.txt", names, [0, 1, 1])
    before = files(tmp_path)
    assert export_folders(run, tmp_path / "to") == 3
    inside = str(images).lstrip("/")
    assert set(files(tmp_path / "to")) == {
        "cluster_0/images/a.png",
        f"cluster_1/{inside}/b.png",
        f"cluster_1/{inside}/sub/a.png",
    }
    assert {place: content for place, content in files(tmp_path).items() if not place.startswith("to/")} == before


@pytest.mark.parametrize("mode", MODES)
def test_a_strangers_table_reaches_nothing_outside(
    mode: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    hostile = [
        "../../etc/passwd",
        "/etc/passwd",
        "../secret.png",
        str(tmp_path / "secret.png"),
        "sub/../../secret.png",
        "..\\secret.png",
        str(images / "a.png"),
        "",
        ".",
        "..",
        "sub",
    ]
    run = new_run(tmp_path / "run", images, ["b.png", *hostile], [0] * (1 + len(hostile)))
    before = files(tmp_path)
    assert export_folders(run, tmp_path / "to", mode) == 1  # type: ignore[arg-type]
    assert set(files(tmp_path / "to")) == {"cluster_0/b.png"}
    assert {place: content for place, content in files(tmp_path).items() if not place.startswith("to/")} == before
    assert "11 images are no longer where the run found them, or none, and left out" in capsys.readouterr().err


def test_missing_files_are_counted(
    run: RunDirectory, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "b.png").unlink()
    assert export_folders(run, tmp_path / "to") == 3
    assert "1 image is no longer where the run found them" in capsys.readouterr().err
    assert "cluster_1/b.png" not in files(tmp_path / "to")


def test_complete_exports_do_not_complain(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_folders(run, tmp_path / "to")
    assert "left out" not in capsys.readouterr().err


def test_images_that_are_not_files(images: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4), np.uint8))
    for name, source, expected in (
        ("array", tmp_path / "images.npy", f"the images of {tmp_path / 'images.npy'} are not files of their own; use"),
        ("memory", "", "this run was made from images in memory, which have no files; use --csv."),
        ("gone", tmp_path / "absent", "the images of this run cannot be found: there is no file, folder or set called"),
    ):
        run = new_run(tmp_path / name, source, ["0", "1"], [0, 1])
        with pytest.raises(InputError) as caught:
            export_folders(run, tmp_path / "to")
        assert str(caught.value).startswith(expected)
        assert not (tmp_path / "to").exists()


def test_a_run_that_has_not_finished(run: RunDirectory, tmp_path: Path) -> None:
    run.metrics_file.unlink()
    with pytest.raises(InputError, match="has not finished"):
        export_folders(run, tmp_path / "to")


def test_csv(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.export(run.path, csv=tmp_path / "table.csv")
    assert capsys.readouterr().out == f"{tmp_path / 'table.csv'}\n"
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == NAMES
    assert [row["cluster"] for row in rows] == ["0", "1", "0", "1"]
    assert [row["probability_0"] for row in rows] == ["0.900000", "0.100000", "0.900000", "0.100000"]
    with pytest.raises(InputError, match="is there already, and nothing is overwritten; choose another file"):
        commands.export(run.path, csv=tmp_path / "table.csv")


def test_clusters_with_names(run: RunDirectory, tmp_path: Path) -> None:
    write_names(run.names_file, {1: "boots"})
    commands.export(run.path, to=tmp_path / "to", csv=tmp_path / "table.csv")
    assert {path.name for path in (tmp_path / "to").iterdir()} == {"cluster_0", "boots"}
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["", "boots", "", "boots"]
    run.assignments().write(tmp_path / "table.parquet", cluster_names={1: "boots"})
    assert pq.read_table(tmp_path / "table.parquet")["name"].to_pylist() == [None, "boots", None, "boots"]
    write_names(run.names_file, {0: "boots", 1: "boots"})  # one group
    assert export_folders(run, tmp_path / "again") == 4
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"boots"}


def test_csv_and_folders_at_once(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.export(run.path, to=tmp_path / "to", csv=tmp_path / "table.csv")
    assert capsys.readouterr().out.splitlines()[1] == f"4 images: {tmp_path / 'to'}"
    assert (tmp_path / "table.csv").is_file()
    assert len(files(tmp_path / "to")) == 4


def test_export_to_nowhere(run: RunDirectory) -> None:
    with pytest.raises(InputError, match="Give --to FOLDER, --csv FILE, or both"):
        commands.export(run.path)


def test_a_strangers_list_exports_images_alone_and_each_once(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("secret")
    names = [str(tmp_path / "key"), str(images / "b.png")]
    (tmp_path / "list.txt").write_text("\n".join(names))
    run = new_run(tmp_path / "run", tmp_path / "list.txt", [*names, names[1], names[1]], [0] * 4)
    assert export_folders(run, tmp_path / "to") == 1
    assert [Path(place).name for place in files(tmp_path / "to")] == ["b.png"]
    said = capsys.readouterr().err
    assert "2 images stand in the list more than once; each is exported once" in said
    assert "1 image is no longer" in said


def test_where_no_image_is_left_that_is_said(run: RunDirectory, images: Path, tmp_path: Path) -> None:
    for name in NAMES:
        (images / name).rename(images / Path(f"{name}.old.png"))
    with pytest.raises(InputError, match="none of the 4 images is where it was"):
        export_folders(run, tmp_path / "to")


def test_a_hard_link_to_a_link_is_one_to_its_file(images: Path, tmp_path: Path) -> None:
    (images / "link.png").symlink_to("a.png")
    run = new_run(tmp_path / "run", images, ["link.png"], [0])
    export_folders(run, tmp_path / "to", "hardlink")
    assert (tmp_path / "to" / "cluster_0" / "link.png").samefile(images / "a.png")


def test_a_failed_export_leaves_no_half_file(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(MODES, "copy", half)
    with pytest.raises(RunError, match=r"a\.png cannot be made \(No space left.*--mode symlink or --mode hardlink"):
        export_folders(run, tmp_path / "to")
    assert not files(tmp_path / "to")


@pytest.mark.parametrize(("name", "inside"), [("C:/me/x.png", "me/x.png"), ("d:\\x.png", "x.png"), ("C:x", "C:x")])
def test_names_with_a_drive_stay_inside(name: str, inside: str) -> None:
    assert _inside(name).as_posix() == inside
