"""Whether labels had a part in what a network knows, and how every output says so."""

from dataclasses import dataclass
from typing import Literal

Track = Literal["none", "self-supervised", "labels", "unknown", "supervised"]
"""Of the weights: none to start from; trained without labels; with them; who knows; or trained with the labels here."""

OF_FILES: dict[str, Track] = {"unknown": "unknown", "labels": "labels", "no labels": "self-supervised"}
"""What the user says of a weights file (`model.weights_saw`), and the track that makes."""


@dataclass(frozen=True)
class Notice:
    """What is said of a result that labels had, or may have had, a part in.

    Attributes:
        heading: A few words.
        sentence: What it means.
        scoring: Of which labels the scores know.
        compared: The same in the few words that stand under a comparison.
    """

    heading: str = ""
    sentence: str = ""
    scoring: str = "Labels were used here, for scoring, and nowhere else in this run."
    compared: str = ""


_NOTICES: dict[str, Notice] = {
    "labels": Notice(
        "Labels were involved.",
        "The backbone was trained with labels: this is not an unsupervised result. Compare it only with others that "
        "started from such a backbone.",
        "In this run labels were used for scoring alone; its backbone was trained with labels beforehand.",
        "label-pretrained: not unsupervised",
    ),
    "supervised": Notice(
        "Labels were involved.",
        "The labels of these images were trained with: this is an upper bound for others, and not a clustering.",
        "Labels were used for scoring, and before that for training.",
        "unsupervised, but for the row supervised",
    ),
    "unknown": Notice(
        "Labels may have been involved.",
        "Whether the weights of the backbone were trained with labels is not known; if they were, this is not an "
        "unsupervised result.",
        "In this run labels were used for scoring alone; whether its backbone was trained with labels beforehand is "
        "not known.",
        "whether the weights saw labels is not known",
    ),
}


def notice(track: str) -> Notice:
    """What to say of a track; of one without labels, or of none that there is, no sentence at all.

    Example:
        >>> notice("supervised").heading, notice("none").sentence
        ('Labels were involved.', '')
    """
    return _NOTICES.get(track, Notice())
