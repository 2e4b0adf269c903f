"""Class labels for scoring: from a table beside the images, or from the folders they lie in.

A missing label is the empty string; `labelled` tells which images to score.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError

IMAGE_COLUMNS = ("path", "file", "filename", "file_name", "image", "name", "id", "index")  # in order of preference
LABEL_COLUMNS = ("label", "class", "target", "category")
LONGEST_LABEL = 500  # characters; every label takes as much memory as the longest
DEEPEST = 32  # parts of a path, from its end, that a row may be matched by
DELIMITERS = (",", ";", "\t")
_AMBIGUOUS = -1


def read_labels(path: str | Path, names: Sequence[str]) -> NDArray[np.str_]:
    """The label of each image, from a CSV file.

    The file has one column for the image (path, file, filename, image, name, id or index) and one for the label
    (label, class, target or category). A file of exactly two columns may do without a header: image, label. Columns
    are separated by comma, semicolon or tab.

    A row belongs to the image of exactly that name; else to the one image that shares the longest end of the path
    ("cat/001.png", then "001.png", then "001"). Where no row names an image and all are whole numbers, they are
    positions, counted from 0.

    Args:
        path: The file, UTF-8.
        names: Relative paths or names of the images [N].

    Returns:
        Labels [N]; the empty string where the file says nothing.

    Raises:
        InputError: If the file cannot be read or has no such columns, if an image gets two different labels, or if
            under half of what could match does: half of the rows or of the images, whichever are fewer.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     table = Path(folder) / "labels.csv"
        ...     _ = table.write_text("file,label\\n1.png,cat\\n2.png,dog\\n")
        ...     read_labels(table, ["a/2.png", "a/1.png"]).tolist()
        ['dog', 'cat']
    """
    if len(names) == 0:
        raise InputError("there are no images to label.")
    pairs = _read_pairs(Path(path))
    found = _match(pairs, names)
    if found is None:
        found = _match_positions(pairs, len(names), path)
    labels = _fill(pairs, found, names, path)
    _check_matched(pairs, found, names, path)
    return np.array(labels, dtype=np.str_)


def labels_from_folders(names: Sequence[str]) -> NDArray[np.str_]:
    """The name of the folder each image lies in.

    Args:
        names: Relative paths of the images [N], such as `"train/cat/001.png"`.

    Returns:
        Labels [N]; the empty string for images in the top folder.

    Raises:
        InputError: If all images lie in the top folder.

    Example:
        >>> labels_from_folders(["train/cat/001.png", "train/dog/002.png"]).tolist()
        ['cat', 'dog']
    """
    labels = [parts[-2] if len(parts := _parts(name)) > 1 else "" for name in names]
    if not any(labels):
        raise InputError(
            f"all {len(labels)} images lie in the top folder, so folders tell no classes. "
            "Put the images of each class in a folder of that name, or give a table of labels."
        )
    return np.array(labels, dtype=np.str_)


def labelled(classes: ArrayLike) -> NDArray[np.bool_]:
    """Which images have a label.

    Args:
        classes: Labels [N]. Missing are the empty string, None and negative numbers (the mark of unlabelled images in
            torchvision).

    Returns:
        True where there is a label [N].

    Example:
        >>> labelled(["cat", "", "dog"]).tolist(), labelled([3, -1]).tolist()
        ([True, False, True], [True, False])
    """
    values = np.asarray(classes)
    if values.dtype.kind in "if":
        return values >= 0
    if values.dtype == object:
        return np.array([_is_label(value) for value in values], dtype=np.bool_)
    return values != "" if values.dtype.kind == "U" else np.ones(values.shape, dtype=np.bool_)


def _is_label(value: object) -> bool:
    if isinstance(value, int | float | np.number):
        return bool(value >= 0)
    return value is not None and value != ""


# ---------------------------------------------------------------- reading


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    """Rows as (image, label)."""
    lines = _read_lines(path)
    rows = _split(lines, path)
    image, label, start = _columns(rows, path)
    pairs = [(_cell(row, image), _cell(row, label)) for row in rows[start:]]
    pairs = [pair for pair in pairs if pair[0]]
    if not pairs:
        raise InputError(f"{path} has a header and no rows.")
    if (longest := max(len(label) for _, label in pairs)) > LONGEST_LABEL:
        raise InputError(f"{path} has a label of {longest:,} characters; are these the right columns?")
    return pairs


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # drops the byte order mark that spreadsheets write
    except OSError as error:
        raise InputError(f"cannot read the labels in {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8.") from error
    lines = [line + "\n" for line in text.split("\n")]  # not splitlines: that also cuts at rarer characters
    if not text.strip():
        raise InputError(f"{path} is empty; expected two columns, image and label.")
    return lines


def _split(lines: list[str], path: Path) -> list[list[str]]:
    """Rows of cells, by the delimiter that cuts most of the first rows into the same number (two or more) of cells."""
    try:
        delimiter = max(DELIMITERS, key=lambda candidate: _regularity(lines[:50], candidate))
        return _rows(lines, delimiter)
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV file: {error}.") from error


def _regularity(lines: list[str], delimiter: str) -> tuple[float, int]:
    widths = Counter(len(row) for row in _rows(lines, delimiter))
    width, rows = widths.most_common(1)[0]
    return (rows / widths.total(), width) if width > 1 else (0.0, 0)


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)]
    return [row for row in rows if any(row)]


def _columns(rows: list[list[str]], path: Path) -> tuple[int, int, int]:
    """Position of the image column and of the label column, and the first row that is not the header."""
    header = [cell.lower() for cell in rows[0]]
    image = next((header.index(name) for name in IMAGE_COLUMNS if name in header), None)
    label = next((header.index(name) for name in LABEL_COLUMNS if name in header), None)
    if image is not None and label is not None:
        return image, label, 1
    if len(header) == 2 and image is not None:  # a header, in which the other column can only be the label
        return image, 1 - image, 1
    if len(header) == 2 and label is not None:
        return 1 - label, label, 1
    if len(header) == 2:
        return 0, 1, 0
    raise InputError(
        f"{path} has the columns {', '.join(rows[0][:8])}; expected one of {', '.join(IMAGE_COLUMNS)} and one of "
        f"{', '.join(LABEL_COLUMNS)} (or no header and exactly two columns: image, label)."
    )


def _cell(row: list[str], column: int) -> str:
    return row[column] if column < len(row) else ""


# ---------------------------------------------------------------- matching


def _match(pairs: list[tuple[str, str]], names: Sequence[str]) -> list[int | None] | None:
    """The image of each row by name; None where no row names an image and all are whole numbers."""
    exact = {name: index for index, name in enumerate(names)}
    tails = _tails(_parts(name) for name in names)
    stems = _tails(_parts(_without_suffix(name)) for name in names)
    found = [_find(key, exact, tails, stems) for key, _ in pairs]
    nameless = all(index is None for index in found) and all(key.isascii() and key.isdigit() for key, _ in pairs)
    return None if nameless else found


def _find(key: str, exact: dict[str, int], tails: dict[str, int], stems: dict[str, int]) -> int | None:
    if key in exact:
        return exact[key]
    parts = _parts(key)
    for table in (tails, stems):
        for tail in ("/".join(parts[start:]) for start in range(len(parts))):
            if tail in table:
                return None if table[tail] == _AMBIGUOUS else table[tail]
    return None


def _tails(paths: Iterable[list[str]]) -> dict[str, int]:
    """Every end of every path -> its position, or `_AMBIGUOUS` where several images share it."""
    table: dict[str, int] = {}
    for index, parts in enumerate(paths):
        for start in range(max(0, len(parts) - DEEPEST), len(parts)):
            tail = "/".join(parts[start:])
            table[tail] = _AMBIGUOUS if tail in table else index
    return table


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _without_suffix(name: str) -> str:
    head, dot, suffix = name.rpartition(".")
    return head if dot and head and "/" not in suffix else name


def _match_positions(pairs: list[tuple[str, str]], count: int, path: str | Path) -> list[int | None]:
    positions: list[int | None] = [int(key) for key, _ in pairs]
    highest = max(int(key) for key, _ in pairs)
    if highest == count:  # the one case in which every label would be off by one and look right
        raise InputError(f"{path} has the position {highest} but there are {count} images; count from 0.")
    return [position if position is not None and position < count else None for position in positions]


def _fill(pairs: list[tuple[str, str]], found: list[int | None], names: Sequence[str], path: str | Path) -> list[str]:
    labels = [""] * len(names)
    for (_, label), index in zip(pairs, found, strict=True):
        if index is None or not label:
            continue
        if labels[index] not in ("", label):
            raise InputError(
                f"{path} gives {names[index]!r} two labels, {labels[index]!r} and {label!r}; "
                "keep one row an image (and full paths where file names repeat)."
            )
        labels[index] = label
    return labels


def _check_matched(
    pairs: list[tuple[str, str]], found: list[int | None], names: Sequence[str], path: str | Path
) -> None:
    matched = len({index for index in found if index is not None})
    possible = min(len({key for key, _ in pairs}), len(names))
    if 2 * matched >= possible:
        return
    unmatched = [key for (key, _), index in zip(pairs, found, strict=True) if index is None]
    raise InputError(
        f"only {matched} of {possible} possible images are matched by {path}. It names for example "
        f"{' and '.join(map(repr, unmatched[:2]))}; the images are named {' and '.join(map(repr, names[:2]))}. "
        "Write paths relative to the image folder."
    )
