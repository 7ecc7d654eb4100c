"""The Gaussian prior N(0, std^2 I): each coordinate is the quantile of one uniform number."""

from collections.abc import Mapping
from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor, nn

from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import PriorSettings
from aae_zoo.zoo.priors import BasePrior


class Settings(PriorSettings):
    """The standard deviation of each coordinate.

    With `normalised` the encoder's codes are normalised over the batch: each coordinate has the prior's mean and
    variance from the first step on, and the adversary has only the rest to see to. That spares thousands of steps.
    """

    kind: Literal["gaussian"]
    std: PositiveFloat = 1.0
    normalised: bool = False


class Prior(BasePrior):
    """z = std * quantile(u)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.noise = self.latent = settings.size
        self.std = settings.std
        self.normalise = nn.BatchNorm1d(settings.size, affine=False) if settings.normalised else None

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, size] of noise u [n, size]."""
        return {"z": self.std * normal_quantile(u)}

    def codes(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's outputs, z of them normalised where that is asked for."""
        if self.normalise is None:
            return dict(outputs)
        return {**outputs, "z": self.std * self.normalise(outputs["z"])}
