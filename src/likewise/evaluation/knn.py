"""What features know of the classes: a vote of the nearest images, and how much of it the instance part keeps."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from likewise.errors import InputError
from likewise.evaluation._checks import Labels, as_features, as_labels, unit_rows
from likewise.progress import track

BLOCK = 1024  # images compared with all others at a time


def knn_accuracy(
    train_features: ArrayLike,
    train_labels: Labels,
    test_features: ArrayLike | None = None,
    test_labels: Labels | None = None,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share of images whose class is the one that their nearest neighbours vote for.

    Each of the k nearest training images by cosine votes for its class with the weight exp(cosine / temperature).
    Exact, and quadratic in the number of images, in blocks of 1024.

    Args:
        train_features: Of the images that vote, [N, F].
        train_labels: Their classes [N].
        test_features: Of the images that are voted on, [M, F]. None for the training images themselves: then each is
            voted on by all others but never by itself.
        test_labels: Their classes [M]; given where `test_features` are.
        k: How many vote; fewer where there are fewer.
        temperature: The lower, the more the very nearest count.

    Returns:
        A number in 0..1. Of classes with equal votes, the one that sorts first wins.

    Raises:
        InputError: If shapes do not fit, labels are missing, or there is nobody to vote.

    Source:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (arXiv 1805.01978), 3.4.

    Example:
        >>> knn_accuracy([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["cat", "cat", "dog"], [[0.1, 1.0]], ["dog"], k=1)
        1.0
    """
    if (test_features is None) != (test_labels is None):
        raise InputError("test_features and test_labels belong together; give both or neither.")
    if k < 1 or not temperature > 0:
        raise InputError(f"k is {k} and temperature {temperature}; expected at least 1, and more than 0.")
    train, voting = _labelled(train_features, train_labels, "train")
    leave_out = test_features is None
    test, truth = (train, voting) if leave_out else _labelled(test_features, test_labels, "test")
    if train.shape[1] != test.shape[1]:
        raise InputError(f"train_features are {train.shape[1]} wide and test_features {test.shape[1]}; must be equal.")
    k = min(k, len(train) - leave_out)
    if k < 1:
        raise InputError("one image alone has no neighbours to vote; give at least two.")
    classes, votes_for = np.unique(voting, return_inverse=True)
    right = 0
    with track("voting of neighbours", total=len(test)) as tracker:
        for start in range(0, len(test), BLOCK):
            cosine = test[start : start + BLOCK] @ train.T
            rows = np.arange(len(cosine))
            if leave_out:
                cosine[rows, start + rows] = -np.inf
            nearest = np.argpartition(cosine, len(train) - k, axis=1)[:, -k:]
            voices = np.take_along_axis(cosine, nearest, axis=1).astype(np.float64)
            # the nearest speaks with 1: without the shift, low temperatures overflow
            weights = np.exp((voices - voices.max(axis=1, keepdims=True)) / temperature)
            votes = np.zeros((len(cosine), len(classes)))
            np.add.at(votes, (rows[:, None], votes_for[nearest]), weights)
            right += int((classes[votes.argmax(axis=1)] == truth[start : start + BLOCK]).sum())
            tracker.advance(len(cosine))
    return right / len(test)


def class_leakage(instance: float, categorical: float, chance: float) -> float | None:
    """How much of what the categorical part knows of the class, the instance part knows too.

    The disentanglement of the two parts as one number: the accuracy of z_n above chance divided by that of z_c above
    chance. It is only as good as the probe that made the accuracies: what k-NN does not find in z_n, a
    deeper network might. It says nothing of the other direction (what z_c knows of the instance), and where z_c hardly
    beats chance it is a ratio of two small numbers.

    Args:
        instance: Accuracy of a probe on z_n, in 0..1.
        categorical: Accuracy of the same probe on z_c.
        chance: What guessing the most frequent class reaches.

    Returns:
        0 where z_n knows nothing of the class, 1 where it knows as much as z_c, and above that where it knows more;
        None where z_c itself does not beat chance.

    Example:
        >>> round(class_leakage(instance=0.2, categorical=0.9, chance=0.1), 3)
        0.125
    """
    if categorical <= chance:
        return None
    return max(0.0, instance - chance) / (categorical - chance)


def _labelled(features: Any, labels: Any, what: str) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    rows, classes = as_features(features, f"{what}_features"), as_labels(labels, f"{what}_labels")
    if len(rows) != len(classes):
        raise InputError(f"{len(rows)} {what}_features but {len(classes)} {what}_labels; expected one label a row.")
    return unit_rows(rows), classes
