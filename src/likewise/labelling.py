"""The classes of images, as `--labels` names them: the one door that labels come in by.

Scoring, analysis and the scores of a comparison ask, once a training has ended; and, before it, the upper bound of a
comparison, which learns from them and says so.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from likewise.data import ImageSource
from likewise.errors import InputError
from likewise.evaluation import labelled, labels_from_folders, read_labels
from likewise.progress import say


def classes_by_name(names: list[str], source: ImageSource | None, labels: str) -> dict[str, str]:
    """The class of every image by its name, as text; empty where there is none.

    Args:
        names: Of the images.
        source: Where they come from, if that is known; its labels are in the order of `names`.
        labels: `"folders"`, `"source"` or a CSV file.

    Raises:
        InputError: If there are no such labels.
    """
    if labels == "folders":
        classes = labels_from_folders(names).tolist()
    elif labels == "source":
        own = source.labels if source is not None else None
        if source is None or own is None:
            raise InputError("these images come without labels; give --labels folders or --labels FILE.csv.")
        classes = [_class_name(int(label), source.class_names) for label in own]
    elif not Path(labels).is_file():
        raise InputError(f"--labels {labels}: no such file; give a CSV file, or the word folders or source.")
    else:
        classes = read_labels(Path(labels), names).tolist()
    return dict(zip(names, map(str, classes), strict=True))


def known_classes(names: Sequence[str], classes_of: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The images that have a class, and their classes.

    Args:
        names: Of N images.
        classes_of: What `classes_by_name` found.

    Returns:
        Their rows, int64 [n], and their classes, text [n].

    Raises:
        InputError: If none has one, or all have the same.
    """
    classes = np.array([classes_of.get(name, "") for name in names])
    rows = np.flatnonzero(labelled(classes))
    if not len(rows):
        raise InputError("none of the images has a label; are these the labels of these images?")
    found = np.unique(classes[rows])
    if len(found) < 2:
        raise InputError(f"all labels are {str(found[0])!r}: a score needs two classes at least; is --labels right?")
    if len(rows) < len(classes):
        say(f"{len(classes) - len(rows):,} of {len(classes):,} images have no label and are left out of the scores")
    return rows, classes[rows]


def _class_name(label: int, names: list[str] | None) -> str:
    if label < 0:  # the usual mark of an image without a label
        return ""
    return names[label] if names is not None and label < len(names) else str(label)
