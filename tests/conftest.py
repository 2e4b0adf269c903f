"""Shapes and types in the annotations of the numerical packages are checked while tests run."""

from jaxtyping import install_import_hook

CHECKED = ["likewise.objectives", "likewise.models", "likewise.methods", "likewise.views"]
# the hook sees only what is imported after it, so it comes before every import of likewise
install_import_hook(CHECKED, "beartype.beartype")

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed, for everything that a test draws."""
    return torch.Generator().manual_seed(0)
