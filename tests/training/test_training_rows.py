"""Rows of a file are those of the array, and the file is not filled into memory."""

from pathlib import Path

import numpy as np
import pytest

from likewise.errors import RunError
from likewise.training.rows import Rows

ARRAY = np.random.default_rng(0).normal(size=(3, 11, 5)).astype(np.float16)
PLACES = np.array([2, 0, 2, 1]), np.array([10, 0, 3, 3])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", ARRAY)
    return tmp_path / "rows.npy"


@pytest.mark.parametrize("mode", ["r", "c", None])
def test_rows_of_a_file(path: Path, mode: str | None) -> None:
    found = Rows(np.load(path, mmap_mode=mode))(*PLACES)
    assert found.dtype == np.float16
    assert found.flags.writeable
    assert np.array_equal(found, ARRAY[PLACES])


def test_rows_of_a_part_of_a_file(path: Path) -> None:
    part = np.load(path, mmap_mode="r")[1, 2:]
    assert np.array_equal(Rows(part)(np.array([8, 0, 3])), ARRAY[1, [10, 2, 5]])


def test_rows_of_a_file_of_matrices_by_column(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.asfortranarray(ARRAY))
    assert np.array_equal(Rows(np.load(tmp_path / "rows.npy", mmap_mode="r"))(*PLACES), ARRAY[PLACES])


def test_no_rows(path: Path) -> None:
    none = np.arange(0)
    assert Rows(np.load(path, mmap_mode="r"))(none, none).shape == (0, 5)


def test_a_file_that_has_become_shorter(path: Path) -> None:
    rows = Rows(np.load(path, mmap_mode="r"))
    with path.open("r+b") as file:
        file.truncate(200)
    with pytest.raises(RunError, match="shorter"):
        rows(*PLACES)
