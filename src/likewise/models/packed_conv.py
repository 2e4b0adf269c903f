"""3x3 convolutions that stay fast on small maps."""

import torch
from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn import functional

from likewise.processor import processor_flags

# What a matrix unit multiplies in tiles. Vector units have no tiles to fill: images side by side cost them up to
# a quarter of the time (AVX512-BF16 and AVX512, docs/speed.md).
TILED_TYPES = (torch.bfloat16,) if "amx_bf16" in processor_flags() else ()
TILE = 16  # rows that a tile of the matrix unit holds: neighbouring pixels of one line of the map
LONGEST_LINE = 640  # pixels; longer ones gain nothing more
THREADS = torch.get_num_threads()  # asked once: to ask in every forward pass would break up a compiled graph


class PackedConv2d(nn.Conv2d):
    """A 3x3 convolution with padding 1 that lays the images of a batch side by side where maps are narrow.

    A convolution on AMX fills its tiles with neighbouring pixels of a line. A map of 4x4 px fills 4 of 16 places
    and runs at a quarter of the speed. With zeros between them, several images in a row are one wide map, and the
    result is the same but for the order of its sums: the zeros are the padding that each image has anyway.
    Measured on two cores with AMX in bfloat16 with 512 images, forward and backward together: 512 channels at 4x4 px
    take 198 ms instead of 691, and 256 to 512 channels from 8x8 to 4x4 px 132 ms instead of 567. GPUs, fp32 and
    processors without AMX gain nothing and use the ordinary convolution. Arguments are those of `nn.Conv2d`;
    `pack_convolutions` makes these.
    """

    def forward(self, input: Tensor) -> Tensor:
        count = 1
        tiled = input.ndim == 4 and input.device.type == "cpu" and input.dtype in TILED_TYPES
        # a traced or exported network is for other batches too
        if tiled and not (is_tracing() or torch.compiler.is_exporting()):
            count = images_side_by_side(len(input), input.shape[3], self.stride[0], THREADS)
        return super().forward(input) if count == 1 else self._packed(input, count)

    def _packed(self, images: Tensor, count: int) -> Tensor:
        batch, channels, height, width = images.shape
        stride, pitch = self.stride[0], _pitch(width, self.stride[0])
        gap = (0, 0, 0, pitch - width)
        lines = functional.pad(images.permute(0, 2, 3, 1), gap).view(-1, count, height, pitch, channels)
        wide = lines.transpose(1, 2).reshape(-1, height, count * pitch, channels).permute(0, 3, 1, 2)
        result = super().forward(wide).permute(0, 2, 3, 1)
        columns, lines_left = -(-width // stride), -(-height // stride)
        result = result.reshape(-1, lines_left, count, pitch // stride, self.out_channels)
        separate = result[:, :, :, :columns].transpose(1, 2).reshape(batch, lines_left, columns, -1)
        return separate.permute(0, 3, 1, 2)


def pack_convolutions(network: nn.Module) -> None:
    """Make a `PackedConv2d` of every convolution that can be one; its weights, names and hooks stay as they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _can_be_packed(module):
            module.__class__ = PackedConv2d  # which adds no state


def _can_be_packed(convolution: nn.Conv2d) -> bool:
    shape = convolution.kernel_size, convolution.padding, convolution.dilation
    plain = convolution.groups == 1 and convolution.padding_mode == "zeros"
    return plain and shape == ((3, 3), (1, 1), (1, 1)) and convolution.stride in ((1, 1), (2, 2))


def _pitch(width: int, stride: int) -> int:
    """From the first column of an image to that of the next: at least one column of zeros, and whole strides."""
    return -(-(width + 1) // stride) * stride


def images_side_by_side(batch: int, width: int, stride: int = 1, threads: int = 1) -> int:
    """How many images to lay side by side: what fills the tiles best, among the divisors of the batch.

    Args:
        batch: Images.
        width: Of a map, in pixels.
        stride: Of the convolution, 1 or 2.
        threads: How many threads want a line of images each.

    Example:
        >>> [images_side_by_side(512, width) for width in (4, 7, 14, 28)]
        [128, 64, 1, 1]
    """
    pitch, columns = _pitch(width, stride), -(-width // stride)

    def used(count: int) -> float:
        line = count * pitch // stride if count > 1 else columns
        return count * columns / (-(-line // TILE) * TILE)

    most = max(1, min(LONGEST_LINE // pitch, batch // threads))
    best = max((count for count in range(1, most + 1) if batch % count == 0), key=lambda n: (round(used(n), 2), n))
    # copying costs something too: a small gain is none
    return best if used(best) > 1.25 * used(1) else 1
