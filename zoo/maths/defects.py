"""Defects that are pasted into usual images, so that a network can learn to find such as it was never shown.

V. Zavrtanik et al., "DRAEM: a discriminatively trained reconstruction embedding for surface anomaly detection" (arXiv
2108.07610), whose shapes come from noise; what fills them is, among others, a part of another image or of the image
itself: C.-L. Li et al., "CutPaste" (arXiv 2104.04015), and H. Schlüter et al., "Natural synthetic anomalies" (arXiv
2109.15222). Here a shape is an ellipse of any length, width and direction, whose edge noise makes uneven.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# The share of images that stay as they are.
_USUAL: Final = 0.3
# Half the length and half the width of an ellipse, at least and at most, as shares of the image's side.
_LENGTH, _WIDTH = (0.04, 0.4), (0.02, 0.16)
# How uneven an edge is, by numbers on a grid of so many a side.
_UNEVEN, _GRID = 0.5, 9
# What fills a shape, by a number in [0, 1): up to these a part of the same image, one of another image, and a colour;
# above, the image itself in another light.
_OWN, _OTHER, _COLOUR = 0.3, 0.5, 0.8
# How many shapes let nothing through, and how opaque the others are at least.
_OPAQUE, _THINNEST = 0.5, 0.4
# A pixel is a part of a defect where it has changed by so much.
_VISIBLE: Final = 0.05
# The greatest standard deviation of the noise on all. Without any, what tells a fill is that it is no multiple of
# 1/255, as all pixels of a picture of 8 bits are, and one that was resized, or kept as JPEG, is full of defects.
_NOISE: Final = 0.005


def pasted(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images [n, C, H, W] in [0, 1] with some noise, most of them with a defect too, and which pixels that changes.

    The pixels are bool [n, 1, H, W].
    """
    opacity = _THINNEST + (1 - _THINNEST) * _uniform(images, generator)
    opacity = torch.where(_uniform(images, generator) < _OPAQUE, 1, opacity)
    shapes = (_shapes(images, generator) & (_uniform(images, generator) > _USUAL)).float()
    # Half of the edges go over several pixels, as those in a picture do that was made smaller.
    softness = (2 * _uniform(images, generator) - 1).clamp(min=0)
    shapes = shapes.lerp(F.avg_pool2d(shapes, 3, stride=1, padding=1), softness)
    changed = images.lerp(_fills(images, generator), shapes * opacity)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    noisy = changed + _NOISE * _uniform(images, generator) * noise
    return noisy.clamp(0, 1), (changed - images).abs().amax(1, keepdim=True) > _VISIBLE


def _shapes(images: Tensor, generator: Generator) -> Tensor:
    """One shape in each image, anywhere: bool [n, 1, H, W]."""
    count, _, height, width = images.shape
    y, x = torch.meshgrid(_places(height, images), _places(width, images), indexing="ij")
    y, x = y - _uniform(images, generator), x - _uniform(images, generator)
    angle = math.pi * _uniform(images, generator)
    along, across = y * angle.sin() + x * angle.cos(), y * angle.cos() - x * angle.sin()
    a, b = (low * (high / low) ** _uniform(images, generator) for low, high in (_LENGTH, _WIDTH))
    noise = torch.randn(count, 1, _GRID, _GRID, generator=generator, device=images.device)
    edge = 1 + _UNEVEN * F.interpolate(noise, (height, width), mode="bicubic")
    return (along / a).square() + (across / b).square() < edge


def _fills(images: Tensor, generator: Generator) -> Tensor:
    """What may be in a shape: [n, C, H, W] in [0, 1]."""
    kind = _uniform(images, generator)
    parts = _moved(torch.where(kind < _OWN, images, images.roll(1, 0)), generator)
    colours = torch.rand(*images.shape[:2], 1, 1, generator=generator, device=images.device)
    contrast, light = 0.4 + 1.2 * _uniform(images, generator), 0.3 * (_uniform(images, generator) - 0.5)
    lit = (images * contrast + light).clamp(0, 1)
    return torch.where(kind < _OTHER, parts, torch.where(kind < _COLOUR, colours, lit))


def _moved(images: Tensor, generator: Generator) -> Tensor:
    """Each image moved by any number of pixels, what leaves at a side coming in at the other, and often mirrored."""
    count, _, height, width = images.shape
    rows, columns = (_shifted(side, images, generator) for side in (height, width))
    number = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _shifted(side: int, images: Tensor, generator: Generator) -> Tensor:
    """The numbers of rows or columns, [n, side], from anywhere on, upwards or downwards."""
    first, down = (torch.rand(len(images), 1, generator=generator, device=images.device) for _ in range(2))
    numbers = torch.arange(side, device=images.device)
    return ((first * side).long() + torch.where(down < 0.5, -numbers, numbers)) % side


def _places(side: int, images: Tensor) -> Tensor:
    """The middles of rows or columns, in (0, 1)."""
    return (torch.arange(side, device=images.device) + 0.5) / side


def _uniform(images: Tensor, generator: Generator) -> Tensor:
    """A number in [0, 1) for each image: [n, 1, 1, 1]."""
    return torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
