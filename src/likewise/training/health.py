"""Notices a run that goes wrong while it runs, and says in words what is wrong and what helps."""

import math

import torch
from torch import Tensor

from likewise.methods.base import Signs
from likewise.wording import percent, plural

STUCK_SHARE = 0.02  # the assignments are "still at ln K" within this share of it
FEW_STEPS = 100  # from scratch
EMPTY_SHARE = 0.2  # a cluster is "almost empty" below this share of its fair size


class Window:
    """What is counted between two looks. Everything stays on the device until it is asked for.

    Args:
        num_clusters: K.
    """

    def __init__(self, num_clusters: int) -> None:
        self.num_clusters, self.steps = num_clusters, 0
        self._counts: Tensor | None = None
        self._losses: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}  # a term may come later

    def add(self, output: dict[str, Tensor]) -> None:
        """Count one training step's output: its predicted clusters, if it has any, and its loss terms."""
        if "logits" in output:
            self._count(output["logits"].argmax(dim=1))
        for name, value in output.items():
            if value.ndim == 0:
                value = value.detach()
                self._losses[name] = self._losses[name] + value if name in self._losses else value
                self._seen[name] = self._seen.get(name, 0) + 1
        self.steps += 1

    def _count(self, clusters: Tensor) -> None:
        if self._counts is None:
            self._counts = torch.zeros(self.num_clusters, dtype=torch.long, device=clusters.device)
        # not bincount, which makes a GPU wait for the largest index
        self._counts.scatter_add_(0, clusters, torch.ones_like(clusters))

    @property
    def sees_clusters(self) -> bool:
        """Whether any clusters were predicted: a method may have none before its training has ended."""
        return self._counts is not None

    @property
    def counts(self) -> Tensor:
        """Images per predicted cluster, int64 [K], on the CPU."""
        return torch.zeros(self.num_clusters, dtype=torch.long) if self._counts is None else self._counts.cpu()

    def mean(self, name: str) -> float:
        """Mean of a loss term, NaN if it was not there or one of its values was NaN."""
        return float(self._losses[name]) / self._seen[name] if name in self._losses else math.nan

    def figures(self) -> dict[str, float]:
        """Mean losses and, of predicted clusters, the entropy of their sizes (1 is balanced) and the largest share."""
        losses = {name: self.mean(name) for name in self._losses}
        if not self.sees_clusters:
            return losses
        entropy, largest = balance(self.counts)
        return losses | {"size_entropy": entropy, "largest_share": largest}


def balance(counts: Tensor) -> tuple[float, float]:
    """How equal clusters are in size: the entropy of their sizes, of which 1 is balanced, and the largest share.

    Args:
        counts: Images in each cluster, [K] with K >= 2.
    """
    shares = counts.double() / max(int(counts.sum()), 1)
    entropy = float(-torch.special.xlogy(shares, shares).sum()) / math.log(len(shares))
    return entropy, float(shares.max())


def collapse(counts: Tensor, signs: Signs) -> str:
    """What there is to say of clusters of which a few have most of the images; empty where none have.

    Args:
        counts: Images in each cluster, [K] with K >= 2.
        signs: Of the method.
    """
    entropy, largest = balance(counts)
    if largest <= max(0.5, 3 / len(counts)) and entropy >= 0.5:
        return ""
    return f"{percent(largest)} of the images are in one of {len(counts)} clusters. {signs.collapsed}"


def too_short(steps: int) -> str:
    """What there is to say of a training from scratch that was too short to learn anything; empty where it was not."""
    if steps >= FEW_STEPS:
        return ""
    return (
        f"{plural(steps, 'step is', 'steps are')} few to learn from images, and groups may be of colours and "
        "brightness alone. Train for longer (--minutes, --epochs), or use a backbone with weights."
    )


def findings(window: Window, chance_loss: float, progress: float, signs: Signs) -> dict[str, str]:
    """What is wrong with a run, by kind.

    Args:
        window: Counts since the last look.
        chance_loss: The contrastive loss where no images are told apart.
        progress: Share of the run that is done, in 0..1.
        signs: Of the method.

    Returns:
        Sentences for the user; empty where nothing is wrong. Clusters may be unequal early on and are not judged then.
    """
    if window.steps == 0 or progress < 0.1:
        return {}
    found: dict[str, str] = {}
    if window.sees_clusters:
        found |= _size_findings(window, progress, signs)
    clusters = window.num_clusters
    uniform = math.log(clusters)
    if progress > 0.2 and window.mean(signs.uniform_term) > uniform * (1 - STUCK_SHARE):
        term = signs.uniform_term.replace("_", " ")
        found["stuck"] = (
            f"no clusters have formed: the {term} is stuck at ln {clusters} = {uniform:.2f}, a coin toss. {signs.stuck}"
        )
    if progress > 0.2 and window.mean(signs.contrastive_term) > chance_loss * (1 - STUCK_SHARE / 4):
        found["flat"] = (
            f"the network tells no images apart: the {signs.contrastive_term.replace('_', ' ')} is at its value for "
            f"pure chance, {chance_loss:.2f}. "
            "A lower learning rate helps, or there are too few images"
        )
    return found


def _size_findings(window: Window, progress: float, signs: Signs) -> dict[str, str]:
    counts, clusters = window.counts, window.num_clusters
    if said := collapse(counts, signs):
        return {"collapsed": f"the clusters are collapsing: {said}"}
    fair = int(counts.sum()) / clusters
    if progress > 0.3 and fair >= 20 and (few := int((counts < EMPTY_SHARE * fair).sum())):
        return {"empty": f"{few} of {clusters} clusters {'is' if few == 1 else 'are'} almost empty. {signs.empty}"}
    return {}
