"""A network that finds defects: it learns from usual images alone, into which others are pasted.

The discriminative network of V. Zavrtanik et al., "DRAEM" (arXiv 2108.07610), which sees the image here without a
reconstruction beside it: a small U-Net (O. Ronneberger et al., arXiv 1505.04597), with one more output for the whole
image.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor, nn

from aae_zoo.zoo.maths.defects import pasted
from aae_zoo.zoo.maths.optimiser import adam
from aae_zoo.zoo.networks.conv import half, kernel
from aae_zoo.zoo.parts import Settings, Size

# The side up to which a network looks at every pixel by itself: larger images are halved first.
_FINEST: Final = 48
# Few pixels are a defect's, so each counts more; what the whole image's loss counts beside the pixels'.
_DEFECT_WEIGHT, _IMAGE_WEIGHT = 3.0, 0.3


class SegmenterSettings(Settings):
    """[objective.segmenter]: the channels of the network, from the finest grid to the coarsest."""

    channels: Annotated[list[Size], Field(min_length=2, max_length=5)]
    learning_rate: PositiveFloat


class Segmenter(nn.Module):
    """Images [n, C, H, W] in [0, 1] to logits of a defect: one for each image [n], one for each pixel [n, 1, H, W]."""

    def __init__(self, settings: SegmenterSettings, image: Sequence[int]) -> None:
        super().__init__()
        inputs, size = image[0], (image[1], image[2])
        first, *_ = channels = settings.channels
        halved: list[nn.Module] = []
        doubled: list[nn.Module] = []
        while max(size) > _FINEST:
            halved += _layers(nn.Conv2d(inputs, first, kernel(size), stride=2, padding=1))
            doubled = [*_layers(nn.ConvTranspose2d(first, first, kernel(size), stride=2, padding=1)), *doubled]
            inputs, size = first, half(size)
        self.start = nn.Sequential(*halved, *_block(inputs, first))
        self.down, self.up, self.joined = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(channels):
            down = _layers(nn.Conv2d(fine, coarse, kernel(size), stride=2, padding=1))
            self.down.append(nn.Sequential(*down, *_block(coarse, coarse)[:3]))
            self.up.insert(0, nn.ConvTranspose2d(coarse, fine, kernel(size), stride=2, padding=1))
            self.joined.insert(0, nn.Sequential(*_block(2 * fine, fine)))
            size = half(size)
        self.pixels = nn.Sequential(*doubled, nn.Conv2d(first, 1, 1))
        self.whole = nn.Linear(channels[-1] + 1, 1)
        self.optimiser = adam([self], settings.learning_rate)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of each image, and of each pixel."""
        seen = [self.start(image)]
        for layers in self.down:
            seen.append(layers(seen[-1]))
        x = coarsest = seen.pop()
        for up, joined in zip(self.up, self.joined, strict=True):
            x = joined(torch.cat([seen.pop(), up(x)], 1))
        pixels = self.pixels(x)
        whole: Tensor = self.whole(torch.cat([greatest(coarsest), greatest(pixels)], 1))
        return whole.squeeze(1), pixels

    def loss(self, images: Tensor, generator: Generator) -> Tensor:
        """Binary cross-entropy for usual images, into some of which defects are pasted."""
        changed, mask = pasted(images, generator)
        # Channels last, in which convolutions of so few channels take two thirds of the time on a CPU.
        whole, pixels = self(changed.contiguous(memory_format=torch.channels_last))
        weight = torch.full([], _DEFECT_WEIGHT, device=images.device)
        by_pixel = F.binary_cross_entropy_with_logits(pixels, mask.float(), pos_weight=weight)
        by_image = F.binary_cross_entropy_with_logits(whole, mask.flatten(1).any(1).float())
        return by_pixel + _IMAGE_WEIGHT * by_image


def greatest(planes: Tensor) -> Tensor:
    """The greatest value [n, C] of planes [n, C, H, W]. A pooling, as some engines know the maximum of older opsets."""
    return F.max_pool2d(planes, planes.shape[2:]).flatten(1)


def _layers(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    """Two convolutions that keep the size."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return [*_layers(first), *_layers(second)]
