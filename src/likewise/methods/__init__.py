"""The methods. A new one is one file and one line in the table."""

from typing import Any

from likewise.methods.base import Method, MethodConfig, Parts, Signs, View
from likewise.methods.cdc import CDC, CDCConfig
from likewise.methods.center import Center, CenterConfig

METHODS: dict[str, tuple[Any, str]] = {
    "cdc": (CDC, "contrastive representation disentanglement: category and instance from one loss (arXiv 2306.05439)"),
    "center": (Center, "cluster centres learned with a contrastive and an anchor loss (arXiv 2109.12714)"),
}
"""Methods that make a network, by name."""

STAGES: dict[str, tuple[Any, str]] = {}
"""What a finished run can be trained further with, by name."""

__all__ = [
    "CDC",
    "METHODS",
    "STAGES",
    "CDCConfig",
    "Center",
    "CenterConfig",
    "Method",
    "MethodConfig",
    "Parts",
    "Signs",
    "View",
]
