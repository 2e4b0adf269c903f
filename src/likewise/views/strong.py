"""What makes a view a strong one: random operations on the pixels, and a square that is cut out."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likewise.views.random import Draws

NEUTRAL = 0.5  # value of what is cut out: about where a backbone's normalisation puts zero


@torch.no_grad()
def random_operations(
    images: UInt8[Tensor, "B C H W"], generator: torch.Generator, operations: int, magnitude: int
) -> UInt8[Tensor, "B C H W"]:
    """RandAugment (arXiv 1909.13719): every image goes through a few operations of its own, such as shear or solarize.

    They are torchvision's, one image at a time: with 4 operations about 800 images/s of 32 px on one core.

    Args:
        images: 1 or 3 channels, 0..255.
        generator: Decides the operations.
        operations: How many for each image.
        magnitude: Their strength, 0..30.
    """
    from torchvision.transforms.v2 import RandAugment

    augment = RandAugment(num_ops=operations, magnitude=magnitude)
    # torchvision draws from the global random numbers of the processor: they are lent to it, and put back
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return torch.stack([augment(image) for image in images])


def cut_out(views: Float[Tensor, "B C H W"], draws: Draws, largest: float) -> Float[Tensor, "B C H W"]:
    """Views with a neutral grey square, of a random size at a random place; at the edge it may stick out.

    Args:
        views: Square, in 0..1; changed in place.
        draws: The batch's random numbers.
        largest: Side of the largest square, as a share of the view's, in 0..1; sizes are uniform up to it.

    Source:
        DeVries and Taylor, arXiv 1708.04552; with random sizes as in SCAN, arXiv 2005.12320.
    """
    half = draws.uniform(0.0, largest)[:, None] / 2
    inside = []
    for pixels in views.shape[2:]:
        places = (torch.arange(pixels, device=views.device) + 0.5) / pixels
        inside.append((places - draws.uniform(0.0, 1.0)[:, None]).abs() < half)
    rows, columns = inside
    return views.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], NEUTRAL)
