"""One card for each cluster: how large and how sure it is, its most typical pictures and its least certain ones."""

from dataclasses import dataclass

import numpy as np

from likewise.report.palette import MOST
from likewise.report.pictures import Pictures
from likewise.report.reading import plain
from likewise.runs import Assignments
from likewise.wording import count, percent

OPEN_CARDS = 60  # cards beyond these are folded away


@dataclass(frozen=True)
class Shown:
    """One picture on a card."""

    uri: str
    name: str
    hint: str


@dataclass(frozen=True)
class Card:
    """What the page says about one cluster."""

    cluster: int
    name: str
    colour: int
    size: int
    size_words: str
    share: str
    confidence: float
    typical: list[Shown]
    uncertain: list[Shown]


@dataclass(frozen=True)
class Plan:
    """How many pictures a card gets, and how large: the more cards, the fewer."""

    typical: int
    uncertain: int
    pixels: int

    @classmethod
    def of(cls, num_cards: int) -> "Plan":
        """The plan that keeps a page of `num_cards` cards within some ten megabytes."""
        if num_cards <= OPEN_CARDS:
            return cls(12, 6, 128)
        return cls(8, 4, 96) if num_cards <= 200 else cls(4, 2, 64)


def cluster_cards(assignments: Assignments, pictures: Pictures, names: dict[int, str]) -> list[Card]:
    """A card for every cluster that has images, the largest first; `names` are those that somebody has given."""
    sizes = np.bincount(assignments.clusters, minlength=assignments.num_clusters)
    order = [int(cluster) for cluster in np.argsort(-sizes, kind="stable") if sizes[cluster]]
    plan = Plan.of(len(order))
    confidence = certain(assignments)
    by_cluster = np.split(np.lexsort((-confidence, assignments.clusters)), np.cumsum(sizes)[:-1])
    return [_card(assignments, pictures, names, plan, cluster, by_cluster[cluster], confidence) for cluster in order]


def certain(assignments: Assignments) -> np.ndarray:
    """Confidences with everything impossible taken out, float64 [N] in 0..1."""
    return np.clip(np.nan_to_num(assignments.confidence.astype(np.float64), nan=0.0), 0.0, 1.0)


def _card(
    assignments: Assignments,
    pictures: Pictures,
    names: dict[int, str],
    plan: Plan,
    cluster: int,
    members: np.ndarray,
    confidence: np.ndarray,
) -> Card:
    typical, used = _shown(assignments, pictures, names, members, plan.typical, plan.pixels)
    rest = [row for row in members[::-1] if row not in used]
    uncertain, _ = _shown(assignments, pictures, names, rest, plan.uncertain, min(plan.pixels, 96))
    return Card(
        cluster=cluster,
        name=names.get(cluster, ""),
        colour=cluster % MOST,
        size=len(members),
        size_words=count(len(members)),
        share=percent(len(members) / len(assignments)),
        confidence=float(confidence[members].mean()),
        typical=typical,
        uncertain=uncertain,
    )


def _shown(
    assignments: Assignments,
    pictures: Pictures,
    names: dict[int, str],
    rows: "np.ndarray | list[int]",
    most: int,
    size: int,
) -> tuple[list[Shown], set[int]]:
    found: dict[int, Shown] = {}
    for row in rows:
        if len(found) == most or pictures.is_exhausted:
            break
        uri = pictures.uri(int(row), size) if int(row) in pictures else None
        if uri is not None:
            found[int(row)] = Shown(uri, plain(assignments.names[row], 200), _hint(assignments, names, int(row)))
    return list(found.values()), set(found)


def _hint(assignments: Assignments, names: dict[int, str], row: int) -> str:
    chosen = int(assignments.clusters[row])
    words = f"confidence {_two(float(assignments.confidence[row]))}"
    others = np.nan_to_num(assignments.probabilities[row].astype(np.float64), nan=0.0)
    others[chosen] = -1.0
    runner_up = int(others.argmax())
    if others[runner_up] >= 0.005:
        called = f" ({names[runner_up]})" if runner_up in names else ""
        words += f", then cluster {runner_up}{called} with {_two(float(others[runner_up]))}"
    return words


def _two(share: float) -> str:
    return f"{share:.2f}" if share < 0.995 or share == 1 else ">0.99"
