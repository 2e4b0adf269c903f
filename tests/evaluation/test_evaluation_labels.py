"""Labels from tables and from folders."""

import numpy as np
import pytest

from likewise.errors import InputError
from likewise.evaluation import labelled, labels_from_folders, read_labels

NAMES = ["train/a1.png", "train/a2.png", "test/a3.png"]
EXPECTED = ["cat", "dog", "owl"]


@pytest.fixture
def write(tmp_path):
    def _write(content: str | bytes):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


GOOD = {
    "exact": "path,label\ntrain/a1.png,cat\ntrain/a2.png,dog\ntest/a3.png,owl\n",
    "file names": "file,class\na1.png,cat\na2.png,dog\na3.png,owl\n",
    "stems": "id,label\na1,cat\na2,dog\na3,owl\n",
    "another root": "name,target\n/data/x/train/a1.png,cat\n/data/x/train/a2.png,dog\n/data/x/test/a3.png,owl\n",
    "windows paths": "image,category\ntrain\\a1.png,cat\n.\\train\\a2.png,dog\ntest\\a3.png,owl\n",
    "no header": "train/a1.png,cat\ntrain/a2.png,dog\ntest/a3.png,owl\n",
    "positions": "index,label\n2,owl\n0,cat\n1,dog\n",
    "positions without header": "2,owl\n0,cat\n1,dog\n",
    "semicolon": "path;label\ntrain/a1.png;cat\ntrain/a2.png;dog\ntest/a3.png;owl\n",
    "tab": "path\tlabel\ntrain/a1.png\tcat\ntrain/a2.png\tdog\ntest/a3.png\towl\n",
    "byte order mark and CRLF": b"\xef\xbb\xbfPath,Label\r\na1.png,cat\r\na2.png,dog\r\na3.png,owl\r\n",
    "no end of line, blank lines, spaces": "path, label\n\na1.png, cat\n a2.png ,dog\n\na3.png,owl",
    "more columns": "index,width,label,path\n7,8,cat,a1.png\n8,8,dog,a2.png\n9,8,owl,a3.png\n",
    "quotes": '"path","label"\n"a1.png","cat"\n"a2.png","dog"\n"a3.png","owl"\n',
    "one known header name": "file,animal\na1.png,cat\na2.png,dog\na3.png,owl\n",
    "label first": "label,photo\ncat,a1.png\ndog,a2.png\nowl,a3.png\n",
    "said twice alike": "path,label\na1.png,cat\na1.png,cat\na2.png,dog\na3.png,owl\n",
    "more rows than images": "path,label\n" + "".join(f"z{i}.png,x\n" for i in range(9)) + "a1,cat\na2,dog\na3,owl\n",
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_formats(write, content):
    found = read_labels(write(content), NAMES)
    assert found.dtype.kind == "U"
    assert found.tolist() == EXPECTED


def test_missing_labels_are_empty_strings(write):
    found = read_labels(write("path,label\na1.png,cat\na2.png,\na3.png\n"), NAMES)
    assert found.tolist() == ["cat", "", ""]
    assert labelled(found).tolist() == [True, False, False]
    assert read_labels(write("path,label\na3.png,owl\n"), NAMES).tolist() == ["", "", "owl"]


def test_a_label_may_hold_delimiters_and_letters_of_any_script(write):
    content = 'path;label\na1.png;"cat; small"\na2.png;chien, élevé\na3.png;猫\n'
    assert read_labels(write(content), NAMES).tolist() == ["cat; small", "chien, élevé", "猫"]


def test_a_file_name_that_repeats_needs_its_folder(write):
    names = ["cat/1.png", "dog/1.png", "1.png"]
    content = "path,label\n/data/dog/1.png,dog\ncat/1.png,cat\n1.png,top\n"
    assert read_labels(write(content), names).tolist() == ["cat", "dog", "top"]
    with pytest.raises(InputError, match="only 0 of 1"):
        read_labels(write("path,label\nowl/1.png,owl\n"), names)


def test_numbers_are_names_before_they_are_positions(write):
    assert read_labels(write("id,label\n1,cat\n2,dog\n"), ["1.png", "2.png"]).tolist() == ["cat", "dog"]
    assert read_labels(write("id,label\n1,cat\n0,dog\n"), ["1", "0"]).tolist() == ["cat", "dog"]


BAD = {
    "nothing matches": ("path,label\nx.png,cat\ny.png,dog\n", r"only 0 of 2 .*'x.png' and 'y.png'.*'train/a1.png'"),
    "under half": ("path,label\na1.png,cat\nx.png,dog\ny.png,dog\n", "only 1 of 3"),
    "two labels": ("path,label\na1.png,cat\na1.png,dog\n", "'train/a1.png' two labels, 'cat' and 'dog'"),
    "unknown columns": ("photo,animal,x\na1.png,cat,1\n", "columns photo, animal, x"),
    "one column": ("a1.png\na2.png\n", "columns a1.png"),
    "header only": ("path,label\n", "no rows"),
    "empty": ("", "empty"),
    "blank": ("\n \n", "empty"),
    "counted from one": ("index,label\n1,cat\n2,dog\n3,owl\n", "count from 0"),
    "not text": (b"\xff\xfep\x00a\x00", "not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_what_is_refused(write, content, message):
    with pytest.raises(InputError, match=message):
        read_labels(write(content), NAMES)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_labels(tmp_path / "none.csv", NAMES)
    with pytest.raises(InputError, match="cannot read"):
        read_labels(tmp_path, NAMES)
    with pytest.raises(InputError, match="no images"):
        read_labels(tmp_path / "none.csv", [])


def test_labels_from_folders():
    names = ["train/cat/001.png", "dog\\002.png", "003.png", "./004.png"]
    assert labels_from_folders(names).tolist() == ["cat", "dog", "", ""]
    with pytest.raises(InputError, match="all 2 images lie in the top folder"):
        labels_from_folders(["1.png", "./2.png"])


@pytest.mark.parametrize(
    "classes", [["cat", "", "dog"], np.array(["cat", None, ""], dtype=object), [3, -1, 0], [True, False]], ids=str
)
def test_labelled(classes):
    values = np.asarray(classes)
    expected = [value not in ("", None, -1) for value in values.tolist()]
    assert labelled(classes).tolist() == expected
    assert labelled(classes).dtype == np.bool_


def test_a_label_that_is_a_book_is_refused(write):
    with pytest.raises(InputError, match=r"a label of 100,000 characters"):
        read_labels(write("image,label\na/1.png,cat\na/2.png," + "x" * 100_000), ["a/1.png", "a/2.png"])
