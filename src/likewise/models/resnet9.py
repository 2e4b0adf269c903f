"""A small residual network that trains fast on processors, for images up to 64 px."""

import torch
from torch import Tensor, nn

from likewise.models.small_pool import SmallPool


def _block(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    # pooling before norm and activation leaves a quarter of the pixels to both, and the maximum is the same
    pooling = [SmallPool()] if pool else []
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, *pooling, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Sequential):
    """Two blocks, and the sum of what goes in and what comes out."""

    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


class ResNet9(nn.Module):
    """Eight 3x3 convolutions in four stages, two of them residual, at a third of a ResNet-18's depth.

    Widths are multiples of 32, which fill the tiles of a processor's matrix unit.

    Args:
        in_chans: Channels of the images, 1 or 3.
        width: Channels of the first stage; the last has 8 times as many, which is F.

    Source:
        The shape follows the nets of the DAWNBench CIFAR-10 entries (2018).
    """

    def __init__(self, in_chans: int = 3, width: int = 32) -> None:
        super().__init__()
        self.num_features = 8 * width
        self.stem = _block(in_chans, width, pool=True)
        self.stage1 = _block(width, 2 * width)
        self.residual1 = Residual(_block(2 * width, 2 * width), _block(2 * width, 2 * width))
        self.stage2 = _block(2 * width, 4 * width, pool=True)
        self.stage3 = _block(4 * width, 8 * width, pool=True)
        self.residual3 = Residual(_block(8 * width, 8 * width), _block(8 * width, 8 * width))

    def forward(self, images: Tensor) -> Tensor:
        x = self.residual1(self.stage1(self.stem(images)))
        x = self.residual3(self.stage3(self.stage2(x)))
        return torch.amax(x, dim=(2, 3))
