"""The table of a clustering: it comes back as it was written, and a damaged one is refused."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likewise.errors import InputError
from likewise.runs import Assignments, RunDirectory, assignments, large
from likewise.runs.assignments import read_thumbnails, write_thumbnails

ODD_NAMES = [
    "a, b.png",
    'say "hi".png',
    "two\nlines.png",
    "tab\t.png",
    "carriage\r.png",
    "猫/кот-é.jpg",
    "emoji 😀.png",
    " blank ",
    "",
    "=1+1",
]
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(4), len(ODD_NAMES)).astype(np.float32)


@pytest.fixture
def table() -> Assignments:
    return Assignments.from_probabilities(ODD_NAMES, PROBABILITIES)


def test_from_probabilities(table: Assignments) -> None:
    assert (len(table), table.num_clusters) == (len(ODD_NAMES), 4)
    for row in range(len(table)):
        values = PROBABILITIES[row].tolist()
        assert table.clusters[row] == values.index(max(values))
        assert table.confidence[row] == max(values)
    assert (table.clusters.dtype, table.confidence.dtype) == (np.int64, np.float32)
    assert table.positions is None


def test_members_come_surest_first() -> None:
    probabilities = np.array([[0.6, 0.4, 0], [0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    table = Assignments.from_probabilities(list("abcd"), probabilities)
    assert [members.tolist() for members in table.by_cluster()] == [[1, 0, 3], [2], []]


@pytest.mark.parametrize("with_map", [False, True])
def test_parquet_comes_back_as_it_was(table: Assignments, with_map: bool, tmp_path: Path) -> None:
    positions = np.random.default_rng(1).random((len(table), 2)).astype(np.float32) if with_map else None
    Assignments(table.names, table.clusters, table.confidence, table.probabilities, positions).write(
        tmp_path / "t.parquet"
    )
    read = Assignments.read(tmp_path / "t.parquet")
    assert read.names == ODD_NAMES
    for name in ("clusters", "confidence", "probabilities"):
        np.testing.assert_array_equal(getattr(read, name), getattr(table, name))
        assert getattr(read, name).dtype == getattr(table, name).dtype
    if positions is None:
        assert read.positions is None
    else:
        np.testing.assert_array_equal(read.positions, positions)


def test_a_folder_name_does_not_become_a_column(table: Assignments, tmp_path: Path) -> None:
    path = tmp_path / "cluster=9" / "x=1" / "t.parquet"
    table.write(path)
    read = Assignments.read(path)
    np.testing.assert_array_equal(read.clusters, table.clusters)
    assert read.positions is None


def test_many_rows_are_written_and_read_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assignments, "TOGETHER", 4 * 3)
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 0)
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "t.parquet"
    table = Assignments.from_probabilities(ODD_NAMES, PROBABILITIES)
    table.write(path)
    assert pq.ParquetFile(path).num_row_groups == 4
    read = Assignments.read(path)
    np.testing.assert_array_equal(read.probabilities, PROBABILITIES)
    np.testing.assert_array_equal(read.clusters, table.clusters)


def test_parquet_without_images(tmp_path: Path) -> None:
    Assignments.from_probabilities([], np.zeros((0, 3))).write(tmp_path / "t.parquet")
    read = Assignments.read(tmp_path / "t.parquet")
    assert (len(read), read.num_clusters) == (0, 3)


@pytest.mark.parametrize("probabilities", [False, True])
def test_csv_comes_back_as_it_was(table: Assignments, probabilities: bool, tmp_path: Path) -> None:
    table.write(tmp_path / "t.csv", probabilities)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    extra = [f"probability_{k}" for k in range(4)] if probabilities else []
    assert list(rows[0]) == ["image", "cluster", "confidence", *extra]
    assert [row["image"] for row in rows] == ODD_NAMES
    assert [int(row["cluster"]) for row in rows] == table.clusters.tolist()
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], table.confidence, atol=5e-7)
    if probabilities:
        values = [[float(row[name]) for name in extra] for row in rows]
        np.testing.assert_allclose(values, PROBABILITIES, atol=5e-7)


def columns(**changes: object) -> dict[str, object]:
    """The columns of a right table of two images, with changes; None takes one away."""
    right: dict[str, object] = {
        "image": pa.array(["a", "b"]),
        "cluster": pa.array([0, 1], pa.int64()),
        "confidence": pa.array([0.75, 0.5], pa.float32()),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array([0.75, 0.25, 0.5, 0.5], pa.float32()), 2),
    }
    return {name: value for name, value in (right | changes).items() if value is not None}


def test_the_table_that_the_damaged_ones_are_made_of_is_right(tmp_path: Path) -> None:
    pq.write_table(pa.table(columns()), tmp_path / "t.parquet")
    assert Assignments.read(tmp_path / "t.parquet").names == ["a", "b"]


@pytest.mark.parametrize(
    "changes",
    [
        {"image": None},
        {"cluster": None},
        {"confidence": None},
        {"probabilities": None},
        {"image": pa.array([1, 2])},
        {"image": pa.array(["a", None])},
        {"cluster": pa.array(["x", "y"])},
        {"cluster": pa.array([0, None], pa.int64())},
        {"cluster": pa.array([0.0, 0.5])},
        {"cluster": pa.array([0, 2])},
        {"cluster": pa.array([-1, 0])},
        {"cluster": pa.array([0, 2**63 - 1])},
        {"cluster": pa.array([[0], [1]])},
        {"confidence": pa.array(["x", "y"])},
        {"confidence": pa.array([0.5, None], pa.float32())},
        {"confidence": pa.array([0.5, np.nan])},
        {"confidence": pa.array([0.5, 7.0])},
        {"confidence": pa.array([-0.5, 0.5])},
        {"probabilities": pa.array([[0.5, 0.5], [1.0]])},
        {"probabilities": pa.array([0.5, 0.5])},
        {"probabilities": pa.array([[0.5, 0.5], None], pa.list_(pa.float32(), 2))},
        {"probabilities": pa.array([[0.5, 0.5], [np.inf, 0]], pa.list_(pa.float32(), 2))},
        {"probabilities": pa.array([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2))},
        {"probabilities": pa.nulls(2, pa.list_(pa.null(), 1_000_000))},
        {"probabilities": pa.array([[0.5, 0.5], [0.5, None]], pa.list_(pa.float32(), 2))},
        {"x": pa.array([0.0, 1.0])},
        {"x": pa.array(["0", "q"]), "y": pa.array([0.0, 1.0])},
        {"x": pa.array([0.0, np.nan]), "y": pa.array([0.0, 1.0])},
    ],
    ids=lambda changes: "-".join(f"{name}={value}" for name, value in changes.items()).replace("\n", "")[:60],
)
def test_a_damaged_table_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns(**changes)), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet") as caught:
        Assignments.read(tmp_path / "t.parquet")
    assert "make it again" in str(caught.value) or "damaged" in str(caught.value)


def test_a_table_with_fewer_probabilities_than_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table(columns()), tmp_path / "t.parquet")
    batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *args, **kw: (b.slice(1) for b in batches(*args, **kw)))
    with pytest.raises(InputError, match="probabilities of 1 images, and 2 names"):
        Assignments.read(tmp_path / "t.parquet")


@pytest.mark.parametrize("clusters", [[0, 2], [-1, 0]])
def test_clusters_out_of_range_are_named(clusters: list[int], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns(cluster=pa.array(clusters))), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"names clusters outside 0\.\.1; the file is damaged"):
        Assignments.read(tmp_path / "t.parquet")


def contents() -> dict[str, bytes]:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns()), buffer)
    whole = buffer.getvalue()
    return {
        "empty": b"",
        "random": np.random.default_rng(0).bytes(2000),
        "text": b"image,cluster\na,0\n",
        "cut short": whole[:-100],
        "hole": whole[:60] + bytes(len(whole) - 120) + whole[-60:],
        "footer only": b"PAR1" + b"\xff" * 40 + whole[-8:],
    }


@pytest.mark.parametrize("kind", contents())
def test_bytes_that_are_no_table_are_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(contents()[kind])
    with pytest.raises(InputError, match="is not a table of assignments"):
        Assignments.read(tmp_path / "t.parquet")


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a table of assignments"):
        Assignments.read(tmp_path / "t.parquet")


@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails(channels: int, tmp_path: Path) -> None:
    rows = np.array([4, 0, 2])
    images = [np.full((6, 6, channels), 60 * place, np.uint8) for place in range(3)]
    write_thumbnails(tmp_path / "thumbnails.parquet", zip(rows.tolist(), images, strict=True))
    pictures = RunDirectory(tmp_path).thumbnails()
    assert list(pictures) == [4, 0, 2]
    for jpeg, image in zip(pictures.values(), images, strict=True):
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            assert picture.mode == ("L" if channels == 1 else "RGB")
            np.testing.assert_allclose(np.asarray(picture), image.squeeze(), atol=2)


def test_thumbnails_of_nothing(tmp_path: Path) -> None:
    write_thumbnails(tmp_path / "t.parquet", [])
    assert read_thumbnails(tmp_path / "t.parquet") == {}


def test_thumbnails_that_fail_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_thumbnails(tmp_path / "t.parquet", [(0, np.zeros((4, 4, 5), np.uint8))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1PAR1", np.random.default_rng(0).bytes(500)])
def test_damaged_thumbnails_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.parquet is not a table of thumbnails"):
        read_thumbnails(tmp_path / "t.parquet")


def test_tables_that_unpack_to_more_than_anyone_writes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), 2**31 - 1)
    empty = {name: column.slice(0, 0) for name, column in columns().items()}  # type: ignore[attr-defined]
    pq.write_table(pa.table(empty | {"probabilities": wide}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="2147483647 clusters"):
        Assignments.read(tmp_path / "t.parquet")
    monkeypatch.setattr("likewise.runs.assignments.MOST_THUMBNAIL_BYTES", 2**20)
    pictures = pa.table({"row": pa.array(range(200), pa.int64()), "jpeg": pa.array([bytes(2**14)] * 200, pa.binary())})
    pq.write_table(pictures, tmp_path / "p.parquet")
    assert (tmp_path / "p.parquet").stat().st_size < 2**16
    with pytest.raises(InputError, match="larger than any"):
        read_thumbnails(tmp_path / "p.parquet")


def test_long_names_that_are_stored_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likewise.runs.assignments.MOST_NAME_BYTES", 2**24)
    names = ["é" * 2**19] * 60
    Assignments.from_probabilities(names, np.full((60, 2), 0.5, np.float32)).write(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 2**16
    with pytest.raises(InputError, match="names are longer than any"):
        Assignments.read(tmp_path / "t.parquet")
