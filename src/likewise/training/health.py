"""Notices a run that goes wrong while it runs, and says in words what is wrong and what helps."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

STUCK_SHARE = 0.02  # the cluster loss is "still at ln K" within this share of it
EMPTY_SHARE = 0.2  # a cluster is "almost empty" below this share of its fair size


@dataclass
class Window:
    """What is counted between two looks.

    Attributes:
        counts: Images per predicted cluster, int64 [K].
        losses: Sums of the loss terms.
        steps: How many steps were counted.
    """

    counts: Tensor
    losses: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, output: dict[str, Tensor]) -> None:
        """Count one training step's output."""
        self.counts += torch.bincount(output["logits"].argmax(dim=1).cpu(), minlength=len(self.counts))
        for name, value in output.items():
            if value.ndim == 0:
                self.losses[name] = self.losses.get(name, 0.0) + float(value)
        self.steps += 1

    def mean(self, name: str) -> float:
        """Mean of a loss term, NaN if it was not there."""
        return self.losses.get(name, math.nan) / max(self.steps, 1)

    def figures(self) -> dict[str, float]:
        """Mean losses, the entropy of the cluster sizes (1 is balanced) and the share of the largest cluster."""
        shares = self.counts.double() / max(int(self.counts.sum()), 1)
        entropy = float(-torch.special.xlogy(shares, shares).sum()) / math.log(len(shares))
        figures = {"size_entropy": entropy, "largest_share": float(shares.max())}
        return {name: self.mean(name) for name in self.losses} | figures


def findings(window: Window, batch_size: int, progress: float) -> dict[str, str]:
    """What is wrong with a run, by kind.

    Args:
        window: Counts since the last look.
        batch_size: B.
        progress: Share of the run that is done, in 0..1.

    Returns:
        Sentences for the user; empty where nothing is wrong. Clusters may be unequal early on and are not judged then.
    """
    if window.steps == 0 or progress < 0.1:
        return {}
    found: dict[str, str] = {}
    clusters, total = len(window.counts), int(window.counts.sum())
    figures = window.figures()
    fair = total / clusters
    if figures["largest_share"] > max(0.5, 3 / clusters) or figures["size_entropy"] < 0.5:
        found["collapsed"] = (
            f"the clusters are collapsing: {figures['largest_share']:.0%} of the images are in one of {clusters}. "
            "A higher cluster_weight or a lower epsilon keeps them balanced"
        )
    elif fair >= 20 and (few := int((window.counts < EMPTY_SHARE * fair).sum())):
        found["empty"] = (
            f"{few} of {clusters} clusters {'is' if few == 1 else 'are'} almost empty. "
            "If that stays, there may be fewer groups than -k asks for"
        )
    uniform = math.log(clusters)
    if progress > 0.2 and window.mean("cluster_loss") > uniform * (1 - STUCK_SHARE):
        found["stuck"] = (
            f"no clusters have formed: the cluster loss is stuck at ln {clusters} = {uniform:.2f}, a coin toss. "
            "A lower learning rate or assignment_temperature, or a higher cluster_weight helps"
        )
    alike = math.log(2 * batch_size - 1)
    if progress > 0.2 and window.mean("contrastive_loss") > alike * (1 - STUCK_SHARE / 4):
        found["flat"] = (
            f"the network tells no images apart: the contrastive loss is at its value for pure chance, {alike:.2f}. "
            "A lower learning rate helps, or there are too few images"
        )
    return found
