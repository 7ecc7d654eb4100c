"""What the principal components of usual images leave of an image: errors, pixel by pixel, that stand out if it is odd.

The distance from the space of "eigenfaces" (M. Turk and A. Pentland, "Eigenfaces for recognition", Journal of Cognitive
Neuroscience 3, 1991), kept apart by place, so that a small defect is not drowned by all the rest. What the components
restore is drawn towards the mean as in probabilistic PCA (M. Tipping and C. Bishop, "Probabilistic principal component
analysis", Journal of the Royal Statistical Society B 61, 1999), so that little depends on how many there are.
"""

from collections.abc import Sequence
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Two by two pixels of images of this side are averaged, more of larger ones, where they come out even: that finds as
# much, and costs a quarter.
_SIDE: Final = 64
# The more components, the more noise they learn: at most one for so many numbers of an image, and for so many images.
_NUMBERS, _IMAGES = 16, 3
# How many directions more than components the randomised decomposition looks at.
_OVERSAMPLED: Final = 32


class Components(nn.Module):
    """Images [n, C, H, W] in [0, 1] to the squared errors [n, 1, H, W] that their principal components leave.

    `mean` [numbers] is that of images with their pixels averaged, and `basis` [components, numbers] has the components,
    each by the root of the share of it that is restored, so that the graph has few operations.
    """

    mean: Tensor
    basis: Tensor
    offset: Tensor
    pixel: Tensor

    def __init__(self, image: Sequence[int], mean: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.factor = _factor(image)
        channels, height, width = image
        self.small = (channels, height // self.factor, width // self.factor)
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)
        self.register_buffer("offset", -(basis @ mean))
        self.register_buffer("pixel", torch.ones(1, 1, self.factor, self.factor))

    def forward(self, image: Tensor) -> Tensor:
        """What is left of each image."""
        x = _averaged(image, self.factor).flatten(1)
        z = F.linear(x, self.basis, self.offset)
        rest = x - F.linear(z, self.basis.T, self.mean)
        errors = rest.unflatten(1, self.small).square()
        if self.small[0] > 1:
            errors = errors.sum(1, keepdim=True)
        return errors if self.factor == 1 else F.conv_transpose2d(errors, self.pixel, stride=self.factor)

    @classmethod
    def of(cls, images: Tensor, most: int) -> Self:
        """Those of usual images [n, C, H, W] in [0, 1]: at most `most`, and at least one."""
        shape = images.shape[1:]
        rows = _averaged(images, _factor(shape)).flatten(1)
        count = max(1, min(most, rows.shape[1] // _NUMBERS, len(images) // _IMAGES))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, strengths, directions = torch.pca_lowrank(rows, min(count + _OVERSAMPLED, *rows.shape))
        variances = strengths[:count].square() / len(rows)
        noise = (rows.var(0, correction=0).sum() - variances.sum()).clamp(min=0) / max(1, rows.shape[1] - count)
        kept = (1 - noise / variances.clamp(min=torch.finfo().tiny)).clamp(min=0)
        # As float16 holds it, so that it takes half the room in a file.
        basis = (directions[:, :count] * kept.sqrt()).T.contiguous().half().float()
        return cls(shape, rows.mean(0), basis)


def _factor(image: Sequence[int]) -> int:
    """How many pixels a side are averaged."""
    _, height, width = image
    side = min(height, width)
    most = max(2, side // _SIDE) if side >= _SIDE else 1
    return max(n for n in range(1, most + 1) if height % n == 0 == width % n)


def _averaged(images: Tensor, factor: int) -> Tensor:
    return images if factor == 1 else F.avg_pool2d(images, factor)
