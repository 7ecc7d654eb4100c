"""A mixture of 2-D Gaussians on a circle, one for each class (Makhzani et al., arXiv 1511.05644, figure 4a).

Each is long outwards and narrow sideways, so that neighbours stay apart and every class has its own ray of styles.
"""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import PriorSettings, Size
from aae_zoo.zoo.priors import BasePrior, one_hot


class Settings(PriorSettings):
    """How many Gaussians, how far out they are, and their standard deviations outwards and sideways."""

    kind: Literal["mixture"]
    size: Literal[2]
    classes: Size
    radius: PositiveFloat
    std_outwards: PositiveFloat
    std_sideways: PositiveFloat


class Prior(BasePrior):
    """z = R(angle of k) (radius + std_outwards * quantile(u1), std_sideways * quantile(u2)), k chosen by u0."""

    label_coordinate = 0
    directions: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.noise, self.latent, self.classes = 3, 2, settings.classes
        self.settings = settings
        angles = [2 * math.pi * k / settings.classes for k in range(settings.classes)]
        directions = torch.tensor([[math.cos(a), math.sin(a)] for a in angles])
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, 2] of noise u [n, 3]."""
        outwards = one_hot(u[:, 0], self.classes) @ self.directions
        sideways = torch.stack([-outwards[:, 1], outwards[:, 0]], dim=1)
        along = self.settings.radius + self.settings.std_outwards * normal_quantile(u[:, 1:2])
        across = self.settings.std_sideways * normal_quantile(u[:, 2:3])
        return {"z": along * outwards + across * sideways}
