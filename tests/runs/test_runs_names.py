"""Names of clusters: what can be one, and what a file with names may hold."""

import json
from pathlib import Path

import pytest

from likewise.errors import InputError
from likewise.runs.names import checked_name, parsed_names, read_names, write_names


@pytest.mark.parametrize(
    "name", ["boots", "T-shirts & tops", "été", "靴", "a.b", "x" * 80, "靴" * 66, "O'Neill (2)", "console", "3-4 = 7"]
)
def test_names(name: str, tmp_path: Path) -> None:
    assert checked_name(f" {name} ") == name
    (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "1 to 80 characters"),
        (" ", "1 to 80 characters"),
        ("x" * 81, "1 to 80 characters"),
        ("\U0001f45f" * 80, "200 bytes"),
        ("=1+1", "begin with"),
        ("@sum", "begin with"),
        ("a\u2028b", "name of a folder"),
        ("Cluster_3", "cluster_"),
        ("NUL", "device"),
        ("com1.x", "device"),
        ("a/b", "name of a folder"),
        ("..\\b", "name of a folder"),
        ("C:", "name of a folder"),
        ("a\nb", "name of a folder"),
        ("a\u202eb", "name of a folder"),
        ("a\0", "name of a folder"),
        ("..", "begin with"),
        (".hidden", "begin with"),
        ("dot.", "end with a dot"),
        ("cluster_3", "cluster_"),
    ],
)
def test_what_cannot_be_a_name(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        checked_name(name)
    assert str(error.value).isprintable()
    file = tmp_path / "names.json"
    file.write_text(json.dumps({"0": name}))
    with pytest.raises(InputError, match=r"names\.json does not hold names of clusters"):
        read_names(file, 3)


def test_names_come_back(tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    assert read_names(file, 3) == {}
    write_names(file, {2: "boots", 0: "boots"})
    assert read_names(file, 3) == {0: "boots", 2: "boots"}
    with pytest.raises(InputError, match="names clusters that there are not"):
        read_names(file, 2)
    write_names(file, {})
    assert not file.exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', '{"0": 1}', '{"-1": "x"}', "[" * 100_000, "null"])
def test_damaged_files(content: str, tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    file.write_text(content)
    with pytest.raises(InputError, match="delete it to go on without them"):
        read_names(file, 3)


def test_what_is_written_on_a_command_line() -> None:
    assert parsed_names(["0=boots", " 2 = a = b", "1="], 3) == {0: "boots", 2: "a = b", 1: ""}
    for wrong in ("boots", "=boots", "x=boots", "-1=boots", "1.0=x", "\u0663=x"):
        with pytest.raises(InputError, match="NUMBER=NAME"):
            parsed_names([wrong], 3)
    with pytest.raises(InputError, match="there is no cluster 3: they are 0 to 2"):
        parsed_names(["3=x"], 3)
