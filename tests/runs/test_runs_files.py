"""A reader sees the old content or the new one, whatever happens to the writer."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from likewise.errors import InputError, RunError
from likewise.runs.files import replacing, require_writable, write_json, write_text


def test_replacing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    for content in ("first", "second"):
        with replacing(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == path.suffix
            temporary.write_text(content)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == content
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_content(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text(str(1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file.txt" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "file.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file.txt", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_kill_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    script = (
        "import os, pathlib, signal, sys\n"
        "from likewise.runs.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('ne')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "é 猫\n")
    assert (tmp_path / "file.txt").read_bytes() == "é 猫\n".encode()


def test_json_of_what_json_cannot_say(tmp_path: Path) -> None:
    value = {
        "nan": float("nan"),
        "infinities": [float("inf"), -np.inf, np.float32("inf")],
        "numpy": {"float32": np.float32(0.5), "int64": np.int64(3), "bool": np.bool_(True), "nan": np.float64("nan")},
        "array": np.array([[1.0, np.nan], [2.0, 3.0]]),
        "tuple": (1, None, "é"),
        7: True,
    }
    write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert "é" in text
    assert text.endswith("}\n")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == {
        "nan": None,
        "infinities": [None, None, None],
        "numpy": {"float32": 0.5, "int64": 3, "bool": True, "nan": None},
        "array": [[1.0, None], [2.0, 3.0]],
        "tuple": [1, None, "é"],
        "7": True,
    }


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"a": object()})
    assert json.loads((tmp_path / "file.json").read_text()) == {"a": 1}


def test_where_nothing_can_be_written_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder" / "file.txt", "choose another")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written to \(.*\); choose another\."):
        require_writable(tmp_path / "file" / "table.csv", "choose another")


def test_a_full_disk_is_said_and_the_old_content_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(error: Exception) -> None:
        with replacing(path):
            raise error

    with pytest.raises(RunError, match=r"file\.txt cannot be written: there is no room left .*--resume"):
        fail(OSError(28, "No space left on device"))
    with pytest.raises(RuntimeError, match="unexpected pos"):
        fail(RuntimeError("unexpected pos"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(RunError, match="no room left"):  # what torch.save says of it
        fail(RuntimeError("unexpected pos"))
    with pytest.raises(InputError, match="other"):
        fail(InputError("other"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
