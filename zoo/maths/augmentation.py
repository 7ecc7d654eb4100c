"""Random changes of an image that leave its class as it is."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from aae_zoo.zoo.parts import Settings as BaseSettings


class Settings(BaseSettings):
    """The largest change of each kind: degrees, shares of the image's size, and a slope."""

    rotation: float
    scale: float
    shift: float
    shear: float


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
