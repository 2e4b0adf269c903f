"""One process at a time writes to a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from likewise.errors import RunError
from likewise.runs.lock import LOCK, held

KEEPS = """
import sys, time
from pathlib import Path
from likewise.runs.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", KEEPS, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is writing"), held(folder):
            pass
        process.kill()  # no time to tidy up
    assert (folder / LOCK).exists()
    with held(folder):
        (folder / "result").touch()
    assert [file.name for file in folder.iterdir()] == ["result"]


def test_nothing_stays_of_a_folder_in_which_nothing_was_written(tmp_path: Path) -> None:
    with held(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with held(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), held(tmp_path / "run"):
        pass
    assert not (tmp_path / "elsewhere").exists()
