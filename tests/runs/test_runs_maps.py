"""The maps of the parts come back as they were, and nothing else comes in their place."""

from pathlib import Path

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.runs import PartMaps, RunDirectory


def _maps(count: int = 5) -> PartMaps:
    places = np.random.default_rng(0).random((2, count, 2)).astype(np.float32)
    return PartMaps(np.arange(count), *places)


def test_maps_come_back_and_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    run, other = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "other")
    assert run.maps() is None
    for one in (run, other):
        _maps().write(one.maps_file)
    found = run.maps()
    assert found is not None
    for name in ("rows", "categorical", "instance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(_maps(), name))
    assert run.maps_file.read_bytes() == other.maps_file.read_bytes()
    assert [path.name for path in run.path.iterdir()] == ["maps.npz"]


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("executed",)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": np.array([[0, 1]])},
        {"rows": np.array([0.5] * 5)},
        {"categorical": np.zeros((5, 3), dtype=np.float32)},
        {"instance": np.full((5, 2), np.nan, dtype=np.float32)},
        {"instance": np.array([["a", "b"]] * 5)},
        {"rows": np.array([_Harmful()] * 5, dtype=object)},
        {"rows": None},
    ],
)
def test_what_is_no_map_is_refused(changes: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = RunDirectory(tmp_path)
    arrays = {name: value for name, value in (vars(_maps()) | changes).items() if value is not None}
    np.savez(run.maps_file, **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="likewise analyze"):
        run.maps()
    assert "executed" not in capsys.readouterr().out


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    _maps().write(run.maps_file)
    whole = run.maps_file.read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole[:60] + b"\xff" * 40 + whole[100:]):
        run.maps_file.write_bytes(damaged)
        with pytest.raises(InputError, match="likewise analyze"):
            run.maps()


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _maps().write(tmp_path / "maps.npz")
    monkeypatch.setattr("likewise.runs.maps.MOST_BYTES", 100)
    with pytest.raises(InputError, match="larger than any"):
        PartMaps.read(tmp_path / "maps.npz")
