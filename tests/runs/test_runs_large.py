"""Arrays that may be larger than memory: where they lie, and that nothing of them stays behind."""

import mmap
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from likewise.errors import RunError
from likewise.folders import cache_folder
from likewise.runs import large
from likewise.runs.large import large_array

mapped = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="they are in memory here")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 1000)
    return tmp_path / "cache"


def is_mapped(array: np.ndarray) -> bool:
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def test_where_files_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LIKEWISE_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    for unset in (lambda: monkeypatch.setenv("LIKEWISE_CACHE", ""), lambda: monkeypatch.delenv("LIKEWISE_CACHE")):
        unset()
        assert cache_folder() == tmp_path / ".cache" / "likewise"


def test_a_small_one_is_in_memory(folder: Path) -> None:
    array = large_array((25, 10))
    assert (array.shape, array.dtype, is_mapped(array)) == ((25, 10), np.float32, False)
    assert not folder.exists()


@mapped
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_large_one_is_a_file_without_a_name(dtype: type, folder: Path) -> None:
    array = large_array((251, 4), dtype)
    assert (array.shape, array.dtype, is_mapped(array)) == ((251, 4), dtype, True)
    assert not list(folder.iterdir())
    values = np.arange(1004).reshape(251, 4)
    array[:] = values
    np.testing.assert_array_equal(array, values)
    np.testing.assert_array_equal(array[100:].argmax(1), 3)


@mapped
def test_a_full_disk_leaves_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=16_000))
    assert not is_mapped(large_array((1001, 1)))  # a run needs room for it as well
    assert is_mapped(large_array((1000, 1)))


@mapped
def test_a_disk_that_fills_up_meanwhile_leaves_memory(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not is_mapped(large_array((1000, 4)))
    assert not list(folder.iterdir())


@mapped
def test_without_a_home_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(large, "cache_folder", nobody)
    assert not is_mapped(large_array((1000, 4)))


def test_what_fits_nowhere_says_where_it_could() -> None:
    with pytest.raises(RunError, match="LIKEWISE_CACHE"):
        large_array((2**30, 2**30))
