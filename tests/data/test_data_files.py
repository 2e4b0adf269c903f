"""Folders, lists and single images."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.data import load_images, open_source
from likewise.errors import InputError


def save(path: Path, colour: int = 0, shape: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", shape, (colour, colour, 0)).save(path, "PNG")
    return path


ODD_NAMES = [
    "a b.png",
    "été ☃.png",
    'it\'s "quoted".png',
    "two\nlines.png",
    "100%.png",
    "#hash.png",
    "-dash.png",
    "[1].png",
]


def test_folder(tmp_path: Path) -> None:
    for name in ["b/2.PNG", "b/deep/er/1.jpg", "a.JpEg", "b.tif"]:
        save(tmp_path / name)
    for name in [".hidden.png", ".git/x.png", "notes.txt", "png"]:
        save(tmp_path / name)
    source = open_source(tmp_path)
    assert (source.kind, source.spec) == ("folder", str(tmp_path))
    assert list(source.names) == ["a.JpEg", "b.tif", "b/2.PNG", "b/deep/er/1.jpg"]
    assert source.locate(2) == tmp_path / "b" / "2.PNG"
    assert source.labels is None
    assert source.class_names is None
    assert source.read(0, 4).shape == (4, 4, 3)
    assert source.typical_side() == 6
    assert list(open_source(source.spec).names) == list(source.names)
    assert open_source(source) is source


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    source = open_source("in")
    assert source.spec == str(tmp_path / "in")
    monkeypatch.chdir("/")
    assert source.read(0, 2).shape == (2, 2, 3)


def test_odd_names(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        save(tmp_path / name)
    source = open_source(tmp_path)
    assert sorted(source.names) == sorted(ODD_NAMES)
    assert len(load_images(source, 4)) == len(ODD_NAMES)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of arbitrary bytes")
def test_undecodable_names(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", raw)
    source = open_source(tmp_path)
    assert list(source.names) == ["caf\\udce9.png"]
    assert os.fsencode(source.locate(0) or "") == raw
    assert source.read(0, 4).shape == (4, 4, 3)
    assert source.digest().startswith("sha256:")
    listing = tmp_path / "list.txt"
    listing.write_bytes(b"caf\xe9.png\n")
    assert open_source(listing).read(0, 4).shape == (4, 4, 3)
    os.mkdir(os.fsencode(tmp_path) + b"/\xe9")
    save(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9/a.png")))
    with pytest.raises(InputError, match="not valid Unicode"):
        open_source(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    save(tmp_path / "z" / "a.png")
    (tmp_path / "a-link").symlink_to(tmp_path / "z")
    (tmp_path / "z" / "up").symlink_to(tmp_path)
    (tmp_path / "z" / "self").symlink_to(".")
    assert list(open_source(tmp_path).names) == ["z/a.png"]


def test_linked_folder_elsewhere_is_read(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    assert list(open_source(tmp_path / "in").names) == ["link/a.png"]


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match=r"no images under .*; looked for \.jpg"):
        open_source(tmp_path)


def test_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="may not be listed: Permission denied"):
        open_source(tmp_path)


def test_what_cannot_be_looked_into_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "closed" / "b.png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.png").symlink_to("loop.png")
    scan = os.scandir

    def refuse(folder: str) -> object:
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_source(tmp_path)
    assert list(source.names) == ["a.png", "loop.png"]  # the latter is one that cannot be read
    assert "closed may not be listed: Permission denied" in capsys.readouterr().err
    assert source.digest()


def test_no_file_has_a_nul_in_its_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png\nb\0.png\n")
    assert open_source(tmp_path / "list.txt").digest()


def test_text_list(tmp_path: Path) -> None:
    other = save(tmp_path / "other" / "x.png")
    names = ["sub/a b.png", "été.png", 'it\'s "it".png', " lead.png", str(other)]
    for name in names[:-1]:
        save(tmp_path / "lists" / name)
    listing = tmp_path / "lists" / "some.lst"
    listing.write_text("\ufeff# a comment\r\n\n" + "\r\n".join(names) + "\n   \n", encoding="utf-8")
    source = open_source(str(listing))
    assert (source.kind, source.spec) == ("list", str(listing))
    assert list(source.names) == names
    assert len(load_images(source, 4, strict=True)) == len(names)
    assert source.locate(4) == other


def test_empty_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="lists no images"):
        open_source(tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["one.png", "without-ending"])
def test_single_image(tmp_path: Path, name: str) -> None:
    source = open_source(save(tmp_path / name))
    assert (len(source), list(source.names), source.spec) == (1, [name], str(tmp_path / name))
    assert source.locate(0) == tmp_path / name


def test_python_list_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", 10)
    save(tmp_path / "b.png", 20)
    monkeypatch.chdir(tmp_path)
    source = open_source(["b.png", tmp_path / "a.png"])
    assert (source.kind, source.spec) == ("list", "")
    assert list(source.names) == ["b.png", str(tmp_path / "a.png")]
    assert [int(source.read(index, 2)[0, 0, 0]) for index in (0, 1)] == [20, 10]


def test_digest_sees_names_and_lengths(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    digests = [open_source(tmp_path).digest(), open_source(str(tmp_path)).digest()]
    save(tmp_path / "b.png", shape=(800, 600))
    digests.append(open_source(tmp_path).digest())
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    digests.append(open_source(tmp_path).digest())
    source = open_source(tmp_path)
    (tmp_path / "c.png").unlink()
    digests.append(source.digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)


def test_typical_side_skips_the_unreadable(tmp_path: Path) -> None:
    for index in range(100):
        save(tmp_path / f"{index:03}.png", shape=(30 if index % 2 else 40, 50))
    (tmp_path / "000.png").write_bytes(b"")
    assert open_source(tmp_path).typical_side() in range(30, 41)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "bad.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the images can be read, for example bad\.png is empty"):
        open_source(tmp_path / "x").typical_side()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("no/such/folder", "no file, folder or set called no/such/folder"),
        ("cifar1O", "Did you mean the set cifar10"),
        ("nothing-like-it\0", "no file, folder or set"),
        ("", "no file, folder or set"),
        ("long" * 2000, "no file, folder or set"),
        (3, "a int is no source of images"),
        (None, "a NoneType is no source of images"),
        ([], "holds no images"),
    ],
)
def test_unusable(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(data)


def test_file_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match="neither an image nor a list or an array"):
        open_source(tmp_path / "a.pdf")


def test_named_set_goes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "fashion-mnist-5k" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert open_source("fashion-mnist-5k").kind == "set"
    assert open_source("./fashion-mnist-5k").kind == "folder"
    assert np.array_equal(open_source("./fashion-mnist-5k").names, ["a.png"])
