"""What an augmentation draws: boxes, flips, colours. Every image draws its own, from one generator."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

NUMBERS = 40  # an image: more than any view takes


def draw_numbers(generator: torch.Generator, batch: int, device: torch.device) -> Float[Tensor, "B numbers"]:
    """The random numbers of one view of each of `batch` images, uniform in 0..1.

    They are drawn on the generator's device, so that every machine draws the same, and in one piece: a GPU that was
    handed them one by one would have to wait each time.
    """
    source = generator.device
    pinned = device.type == "cuda" and source.type == "cpu"  # a copy from such memory is not waited for
    numbers = torch.rand(batch, NUMBERS, generator=generator, device=source, pin_memory=pinned)
    # from other memory it has to be waited for: what is copied would be gone before the copy
    return numbers.to(device, non_blocking=pinned)


class Draws:
    """Random numbers for one batch of views, handed out in order.

    Args:
        numbers: Of `draw_numbers`.
    """

    def __init__(self, numbers: Float[Tensor, "B numbers"]) -> None:
        self.batch, self._left = len(numbers), numbers

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 [B, *shape], uniform in low..high."""
        count = math.prod(shape)
        numbers, self._left = self._left[:, :count], self._left[:, count:]
        return low + (high - low) * numbers.reshape(self.batch, *shape)

    def chance(self, probability: float) -> Tensor:
        """bool [B], true with this probability."""
        return self.uniform(0.0, 1.0) < probability

    def permutation(self, size: int) -> Tensor:
        """int64 [B, size], a random order of 0..size-1 in each row."""
        return self.uniform(0.0, 1.0, size).argsort(dim=1)


def crop_boxes(
    draws: Draws, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], attempts: int = 10
) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"], Int[Tensor, " B"], Int[Tensor, " B"]]:
    """Boxes of a random area and shape, as torchvision's RandomResizedCrop draws them.

    Args:
        draws: The batch's random numbers.
        height: Pixels of the images.
        width: Pixels of the images.
        scale: Least and largest area, as a share of the image's, in (0, 1].
        ratio: Least and largest width over height, drawn on a logarithmic scale.
        attempts: Boxes that do not fit are drawn anew this often; then the whole image is taken.

    Returns:
        Top, left, height and width of each image's box, in pixels.
    """
    area = draws.uniform(scale[0], scale[1], attempts) * (height * width)
    shape = draws.uniform(math.log(ratio[0]), math.log(ratio[1]), attempts).exp()
    wide, tall = (area * shape).sqrt().round().long(), (area / shape).sqrt().round().long()
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    first = fits.float().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    wide = torch.where(found, wide.gather(1, first)[:, 0], width)
    tall = torch.where(found, tall.gather(1, first)[:, 0], height)
    # a number just below 1 times a large range rounds up to the range itself in float32
    top = (draws.uniform(0.0, 1.0) * (height - tall + 1)).long().minimum(height - tall)
    left = (draws.uniform(0.0, 1.0) * (width - wide + 1)).long().minimum(width - wide)
    return top, left, tall, wide


def jitter_factors(
    draws: Draws, brightness: float, contrast: float, saturation: float, hue: float
) -> Float[Tensor, "B 4"]:
    """Factors of a colour jitter as torchvision's ColorJitter draws them: around 1 for the first three, 0 for hue."""
    bounds = [(max(0.0, 1 - strength), 1 + strength) for strength in (brightness, contrast, saturation)]
    return torch.stack([draws.uniform(low, high) for low, high in [*bounds, (-hue, hue)]], dim=1)
