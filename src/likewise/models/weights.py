"""Weights from files, and where they come from."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from likewise.errors import InputError, first_line

Weights = Mapping[str, Tensor]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a weights file, by name.

    Args:
        path: A `.safetensors` file, or a PyTorch file (`.pth`, `.pt`, `.bin`, `.ckpt`). The latter is read with
            `weights_only`: nothing in it is executed.

    Raises:
        InputError: If there is no such file, or it holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every reader has its own errors; all mean that this file is of no use
        raise InputError(f"{path} cannot be read as weights: {first_line(error)}") from error
    for key in ("state_dict", "model", "model_state_dict", "teacher"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no table of tensors.")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def load_into(network: nn.Module, weights: Weights, origin: str) -> None:
    """Copy weights into a network, whatever prefix their names carry (`module.encoder_q.`, `backbone.`, ...).

    A classifier in the file is left out; everything that the network has must be there.

    Args:
        network: What to fill.
        weights: From `read_weights`.
        origin: What to call them in an error.

    Raises:
        InputError: If tensors are missing or have other shapes.
    """
    wanted = network.state_dict()
    prefixes = Counter(name[: -len(key)] for key in wanted for name in weights if name.endswith(key))
    prefix = max(prefixes, key=lambda p: sum(p + key in weights for key in wanted), default="")
    found = {key: weights[prefix + key] for key in wanted if prefix + key in weights}
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    wrong = [key for key, value in found.items() if value.shape != wanted[key].shape]
    if missing or wrong:
        what = (
            f"lack {len(missing)} of {len(wanted)} tensors" if missing else f"have {len(wrong)} tensors of other shapes"
        )
        example = (missing or wrong)[0]
        raise InputError(
            f"the weights of {origin} {what} that this backbone needs, such as {example!r}; is it another backbone?"
        )
    network.load_state_dict(found, strict=False)
