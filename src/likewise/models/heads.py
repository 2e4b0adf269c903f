"""What follows the backbone."""

from torch import nn


def projection_head(num_features: int, hidden_dim: int, num_outputs: int) -> nn.Sequential:
    """A two-layer perceptron: linear, batch norm, ReLU, linear.

    Args:
        num_features: F, the width of the backbone's output.
        hidden_dim: Width of the hidden layer.
        num_outputs: Width of the output; for CDC, K + D.

    Returns:
        A module from [B, F] to [B, num_outputs].
    """
    return nn.Sequential(
        nn.Linear(num_features, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, num_outputs),
    )
