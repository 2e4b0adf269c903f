"""Shapes and types in the annotations of the numerical packages are checked while tests run."""

import os

# a thread that spins while it waits takes the core of the one it waits for: 30 times slower where cores are shared
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# on a GPU backbones would be compiled, which the checks of types below cannot be, and which takes minutes
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import pytest
import torch
from jaxtyping import install_import_hook

CHECKED = ["likewise.objectives", "likewise.models", "likewise.methods", "likewise.views"]
# the hook sees only what is imported after it, and no test module has been imported yet
install_import_hook(CHECKED, "beartype.beartype")

# where several processes share the tests, each has a core of its own
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed, for everything that a test draws."""
    return torch.Generator().manual_seed(0)
