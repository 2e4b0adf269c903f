"""Crop, resize, flip and blur as one pair of matrices an image.

Each of these steps is linear and acts on rows and columns separately. So a whole geometric augmentation is
`rows @ image @ columns.T`, two batched matrix products, whatever was drawn: the pixels are read and written once.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def resize_matrix(
    start: Int[Tensor, " B"], length: Int[Tensor, " B"], inputs: int, outputs: int, flip: Bool[Tensor, " B"]
) -> Float[Tensor, "B outputs inputs"]:
    """Matrices that cut `length` pixels from `start` on and resize them, antialiased, along one axis.

    Args:
        start: First pixel of the crop in each image.
        length: Pixels of the crop, at least 1.
        inputs: Pixels of the image along this axis.
        outputs: Pixels of the result.
        flip: Whether the result runs backwards.

    Returns:
        Row i holds the weights of the input pixels in output pixel i; rows sum to 1. The triangle filter widens with
        the reduction and sees nothing outside of the crop: the same as crop, then bilinear resize with antialiasing.
    """
    device = start.device
    scale = length[:, None].float() / outputs
    order = torch.arange(outputs, device=device, dtype=torch.float32).expand(len(start), -1)
    order = torch.where(flip[:, None], outputs - 1 - order, order)
    center = (order + 0.5) * scale
    offset = torch.arange(inputs, device=device, dtype=torch.float32) + 0.5 - start[:, None]
    reach = scale.clamp(min=1)[:, :, None]
    weights = (1 - (offset[:, None, :] - center[:, :, None]).abs() / reach).clamp(min=0)
    inside = (offset > 0) & (offset < length[:, None])
    weights = weights * inside[:, None, :]
    return weights / weights.sum(dim=2, keepdim=True)


def blur_matrix(sigma: Float[Tensor, " B"], size: int) -> Float[Tensor, "B size size"]:
    """Matrices that blur along one axis with a Gaussian; sigma 0 leaves the image as it is.

    Args:
        sigma: Standard deviation in pixels.
        size: Pixels along this axis.

    Returns:
        Rows sum to 1; at the border the kernel is cut off and scaled up.
    """
    place = torch.arange(size, device=sigma.device, dtype=torch.float32)
    distance = (place[:, None] - place[None, :]) ** 2
    weights = torch.exp(-distance / (2 * sigma.clamp(min=1e-3)[:, None, None] ** 2))
    return weights / weights.sum(dim=2, keepdim=True)


def resample(
    images: Tensor, rows: Float[Tensor, "B h H"], columns: Float[Tensor, "B w W"], dtype: torch.dtype
) -> Tensor:
    """Apply row and column matrices to every channel of every image.

    Args:
        images: [B, C, H, W], of any type.
        rows: What becomes of the rows.
        columns: What becomes of the columns.
        dtype: Precision of the products and of the result. bfloat16 holds all of 0..255 exactly.

    Returns:
        [B, C, h, w].
    """
    batch, channels, height, width = images.shape
    flat = images.permute(0, 2, 1, 3).to(dtype).reshape(batch, height, channels * width)
    lines = torch.bmm(rows.to(dtype), flat).view(batch, -1, width)
    result = torch.bmm(lines, columns.to(dtype).transpose(1, 2))
    return result.view(batch, rows.shape[1], channels, columns.shape[1]).permute(0, 2, 1, 3)
