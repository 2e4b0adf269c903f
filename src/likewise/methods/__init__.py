"""The methods. A new one is one file and one line in the table."""

from typing import Any

from likewise.methods.base import Method, MethodConfig, Parts, Signs, View
from likewise.methods.best_of import BestOf
from likewise.methods.cdc import CDC, CDCConfig
from likewise.methods.center import Center, CenterConfig
from likewise.methods.instance import MoCoV2, SimCLR
from likewise.methods.scan import SCAN, SCANConfig
from likewise.methods.self_label import SelfLabel, SelfLabelConfig
from likewise.methods.supervised import Supervised

METHODS: dict[str, tuple[Any, str]] = {
    "cdc": (CDC, "contrastive representation disentanglement: category and instance from one loss (arXiv 2306.05439)"),
    "center": (Center, "cluster centres learned with a contrastive and an anchor loss (arXiv 2109.12714)"),
    "simclr": (SimCLR, "instance discrimination within a batch, then K-means on its features (arXiv 2002.05709)"),
    "moco-v2": (MoCoV2, "instance discrimination against a queue, then K-means on its features (arXiv 2003.04297)"),
    "scan": (SCAN, "neighbours share a cluster; starts from a run of simclr or moco-v2 (arXiv 2005.12320)"),
    "supervised": (Supervised, "training with labels: the upper bound in likewise benchmark, and nowhere else"),
}
"""Methods that make a network, by name."""

STAGES: dict[str, tuple[type[SelfLabel], str]] = {
    "self-label": (
        SelfLabel,
        "strong views learn the clusters of the images that the run is sure of (arXiv 2005.12320)",
    ),
}
"""What a finished run can be trained further with, by name."""

__all__ = [
    "CDC",
    "METHODS",
    "SCAN",
    "STAGES",
    "BestOf",
    "CDCConfig",
    "Center",
    "CenterConfig",
    "Method",
    "MethodConfig",
    "MoCoV2",
    "Parts",
    "SCANConfig",
    "SelfLabel",
    "SelfLabelConfig",
    "Signs",
    "SimCLR",
    "Supervised",
    "View",
]
