"""Augmentations: a uint8 batch becomes a batch of views, each image with its own random draw."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likewise.views.color import constants, grey_matrix, jitter_matrix
from likewise.views.config import ViewConfig
from likewise.views.random import Draws, crop_boxes, draw_numbers, jitter_factors
from likewise.views.resampling import blur_matrix, resample, resize_matrix
from likewise.views.strong import cut_out, random_operations


class Views:
    """Makes views of a batch.

    Args:
        config: What to draw.
        size: Side of the views in pixels, unless the configuration names one.
        dtype: Precision of the pixel arithmetic and of the views; bfloat16 keeps 8 bits, which is what images have.

    Example:
        >>> make = Views(ViewConfig(), size=24)
        >>> images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
        >>> make(images, torch.Generator().manual_seed(0)).shape
        torch.Size([16, 3, 24, 24])
    """

    def __init__(self, config: ViewConfig, size: int, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.size, self.dtype = config, config.size or size, dtype

    @torch.no_grad()
    def __call__(self, images: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> Float[Tensor, "B C size size"]:
        """One view of every image.

        Args:
            images: 1 or 3 channels, 0..255.
            generator: Decides what is drawn.

        Returns:
            Values in 0..1.
        """
        config = self.config
        if config.operations:
            images = random_operations(images, generator, config.operations, config.magnitude)
        draws = Draws(draw_numbers(generator, len(images), images.device))
        # the matrices are small and need float32; only the pixels are in the chosen precision
        with torch.autocast(images.device.type, enabled=False):
            views = self._recolor(self._reshape(images, draws), draws)
        return cut_out(views, draws, config.cutout) if config.cutout else views

    def _reshape(self, images: Tensor, draws: Draws) -> Tensor:
        config, (height, width) = self.config, images.shape[2:]
        top, left, tall, wide = crop_boxes(draws, height, width, config.crop_scale, config.crop_ratio)
        upright = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        rows = resize_matrix(top, tall, height, self.size, upright)
        columns = resize_matrix(left, wide, width, self.size, draws.chance(config.flip))
        if config.blur:
            sigma = draws.uniform(*config.blur_sigma) * (self.size / 224) * draws.chance(config.blur)
            kernel = blur_matrix(sigma, self.size)
            rows, columns = kernel @ rows, kernel @ columns
        return resample(images, rows / 255, columns, self.dtype)

    def _recolor(self, images: Tensor, draws: Draws) -> Tensor:
        config, channels = self.config, images.shape[1]
        factors = jitter_factors(draws, config.brightness, config.contrast, config.saturation, config.hue)
        neutral = constants(images.device)["neutral"]
        factors = torch.where(draws.chance(config.jitter)[:, None], factors, neutral)
        mean = images.float().mean(dim=(2, 3)).expand(-1, 3)
        matrix, offset = jitter_matrix(factors, draws.permutation(4), mean)
        grey = grey_matrix(draws.chance(config.grey))
        matrix, offset = grey @ matrix, torch.einsum("bij,bj->bi", grey, offset)
        if channels == 1:  # three equal channels stay equal: what the matrix does to them is one factor
            matrix, offset = matrix[:, :1].sum(dim=2, keepdim=True), offset[:, :1]
        flat = images.reshape(len(images), channels, -1)
        colored = torch.baddbmm(offset[:, :, None].to(flat.dtype), matrix.to(flat.dtype), flat)
        return colored.clamp_(0, 1).view_as(images).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def plain_view(images: UInt8[Tensor, "B C H W"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "B C H W"]:
    """The images as they are, in 0..1: what is embedded, assigned and shown."""
    scaled = images.to(dtype) / 255
    return scaled.contiguous(memory_format=torch.channels_last)
