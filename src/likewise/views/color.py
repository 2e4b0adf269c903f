"""Colour jitter and greying as one 3x4 matrix for each image.

Brightness, contrast and saturation are affine in the colours of a pixel, in any order; greying is linear. Hue is taken
as a rotation of the colour plane (YIQ), which is linear too. So whatever was drawn for an image, in whatever order, is
one matrix and one offset, and the pixels are read and written once.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


@cache
def constants(device: torch.device) -> dict[str, Tensor]:
    """The fixed numbers of colour arithmetic, on a device; to bring them there in every step would make a GPU wait."""
    with torch.inference_mode(False):
        return {
            "grey": torch.tensor(GREY, device=device),
            "eye": torch.eye(3, device=device),
            "to_yiq": _TO_YIQ.to(device),
            "from_yiq": _FROM_YIQ.to(device),
            "neutral": torch.tensor([1.0, 1.0, 1.0, 0.0], device=device),
        }


def hue_matrix(shift: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    """Rotations of the colour plane by `shift` turns, from red over yellow to green; greys stay as they are."""
    angle = 2 * math.pi * shift
    cosine, sine = angle.cos(), angle.sin()
    rotation = torch.zeros(len(shift), 3, 3, device=shift.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = cosine
    rotation[:, 1, 2], rotation[:, 2, 1] = sine, -sine  # red, yellow, green run clockwise in (I, Q)
    fixed = constants(shift.device)
    return fixed["from_yiq"] @ rotation @ fixed["to_yiq"]


def jitter_matrix(
    factors: Float[Tensor, "B 4"], order: Tensor, mean: Float[Tensor, "B 3"]
) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3"]]:
    """Matrix and offset of a colour jitter, each image with its own factors in its own order.

    Args:
        factors: Brightness, contrast and saturation factor (1 changes nothing) and hue shift (0 changes nothing).
        order: Which of the four comes first, second, ..., int64 [B, 4], a permutation a row.
        mean: Mean colour of each image; contrast pulls towards its grey.

    Returns:
        A and b: the new colours of a pixel x are A x + b.
    """
    device, batch = factors.device, len(factors)
    grey, eye = constants(device)["grey"], constants(device)["eye"]
    factor = factors[:, :3, None, None]
    to_grey = grey.expand(3, 3)  # every channel becomes the luma
    single = torch.stack(
        [
            factor[:, BRIGHTNESS] * eye,
            factor[:, CONTRAST] * eye,  # its offset depends on the mean at that moment, below
            factor[:, SATURATION] * eye + (1 - factor[:, SATURATION]) * to_grey,
            hue_matrix(factors[:, HUE]),
        ],
        dim=1,
    )
    images = torch.arange(batch, device=device)
    matrix = eye.expand(batch, 3, 3)
    offset = torch.zeros(batch, 3, device=device)
    for place in order.T:
        step = single[images, place]
        current_mean = torch.einsum("bij,bj->bi", matrix, mean) + offset
        shift = (1 - factors[:, CONTRAST]) * (current_mean @ grey) * (place == CONTRAST)
        matrix = step @ matrix
        offset = torch.einsum("bij,bj->bi", step, offset) + shift[:, None]
    return matrix, offset


def grey_matrix(chosen: Tensor) -> Float[Tensor, "B 3 3"]:
    """Matrices that turn the chosen images (bool [B]) grey and leave the others."""
    fixed = constants(chosen.device)
    return torch.where(chosen[:, None, None], fixed["grey"].expand(3, 3), fixed["eye"])
