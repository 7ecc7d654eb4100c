"""The Gaussian prior N(0, std^2 I): each coordinate is the quantile of one uniform number."""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor

from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import PriorSettings
from aae_zoo.zoo.priors import BasePrior


class Settings(PriorSettings):
    """The standard deviation of each coordinate."""

    kind: Literal["gaussian"]
    std: PositiveFloat = 1.0


class Prior(BasePrior):
    """z = std * quantile(u)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.noise = self.latent = settings.size
        self.std = settings.std

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, size] of noise u [n, size]."""
        return {"z": self.std * normal_quantile(u)}
