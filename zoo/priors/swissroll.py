"""A swiss roll in the plane (Makhzani et al., arXiv 1511.05644, figure 4c): a band along an Archimedean spiral.

Noise has two coordinates: the position along the arc, which the classes divide among them in order from the inside
out, and the position across the band.
"""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from aae_zoo.zoo.parts import PriorSettings, Size
from aae_zoo.zoo.priors import BasePrior


class Settings(PriorSettings):
    """Where the spiral begins and how many turns it makes from there; its outer radius; the width of the band."""

    kind: Literal["swissroll"]
    size: Literal[2]
    classes: Size
    first_turn: PositiveFloat
    turns: PositiveFloat
    radius: PositiveFloat
    width: PositiveFloat


class Prior(BasePrior):
    """z = (rho + width (u1 - 1/2)) (cos t, sin t), rho = radius t / t_last, t^2 uniform from t_first^2 to t_last^2.

    An arc of the spiral rho = c t has the length c t^2 / 2 for large t, so t^2 uniform is uniform along the arc.
    """

    label_coordinate = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.noise, self.latent, self.classes = 2, 2, settings.classes
        self.settings = settings
        self.first = 2 * math.pi * settings.first_turn
        self.last = self.first + 2 * math.pi * settings.turns

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, 2] of noise u [n, 2]."""
        t = (self.first**2 + u[:, :1] * (self.last**2 - self.first**2)).sqrt()
        radius = self.settings.radius * t / self.last + self.settings.width * (u[:, 1:] - 0.5)
        return {"z": radius * torch.cat([t.cos(), t.sin()], dim=1)}
