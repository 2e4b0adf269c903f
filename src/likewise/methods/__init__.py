"""The methods. A new one is one file and one line in the table."""

from likewise.methods.base import Method, MethodConfig, Parts
from likewise.methods.cdc import CDC, CDCConfig

METHODS: dict[str, tuple[type[CDC], str]] = {
    "cdc": (CDC, "contrastive representation disentanglement: category and instance from one loss (arXiv 2306.05439)"),
}

__all__ = ["CDC", "METHODS", "CDCConfig", "Method", "MethodConfig", "Parts"]
