"""Random changes of an image that leave its class as it is."""

import math
from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from aae_zoo.zoo.parts import Settings as BaseSettings


class Settings(BaseSettings):
    """The largest change of each kind: degrees, shares of the image's size, and a slope.

    `stroke` is the share of images that a short stroke is added to: as some write it, a seven has a bar.
    """

    rotation: float
    scale: float
    shift: float
    shear: float
    stroke: Annotated[float, Field(ge=0, le=1)] = 0.0


# How a stroke lies in an image: anywhere but at the borders, in any direction, longer or shorter.
_ANYHOW: Final = Settings(rotation=180.0, scale=0.4, shift=0.2, shear=0.0)


def change(images: Tensor, settings: Settings, generator: Generator) -> Tensor:
    """Each image [n, C, H, W] in [0, 1] changed by `affine`, and some of them by a white stroke."""
    changed = affine(images, settings, generator)
    if not settings.stroke:
        return changed
    strokes = affine(_stroke(changed).expand_as(changed), _ANYHOW, generator)
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < settings.stroke
    return torch.maximum(changed, strokes * chosen)


def _stroke(images: Tensor) -> Tensor:
    """An image [1, 1, H, W] of a stroke in the middle, a third as long and a fourteenth as thick as the image."""
    height, width = images.shape[2:]
    down = (torch.arange(height, device=images.device) - (height - 1) / 2).abs() <= max(0.5, height / 28)
    across = (torch.arange(width, device=images.device) - (width - 1) / 2).abs() <= width / 6
    return (down[:, None] & across).to(images.dtype)[None, None]


def affine(images: Tensor, settings: Settings, generator: Generator) -> Tensor:
    """Each image [n, C, H, W] turned, stretched, slanted and moved at random; what comes into view is black.

    Every amount is uniform between minus and plus its largest; height and width are stretched apart.
    """

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator, device=images.device) - 1) * limit

    angle = uniform(math.radians(settings.rotation))
    across, down = uniform(settings.scale).exp(), uniform(settings.scale).exp()
    slant = uniform(settings.shear)
    right, below = uniform(2 * settings.shift), uniform(2 * settings.shift)  # the image is from -1 to 1
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([across * cos, across * (slant * cos - sin), right], dim=1)
    second = torch.stack([down * sin, down * (slant * sin + cos), below], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
