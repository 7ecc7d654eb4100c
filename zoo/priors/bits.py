"""Fair bits, -1 or 1 each: a discrete prior, for which no KL divergence from a Gaussian posterior exists.

An adversarial autoencoder needs only draws of its prior. The encoder's outputs are cut to bits. In training a bit is
drawn, 1 with probability (1 + tanh z) / 2, and its gradient is that of tanh z (the straight-through estimator of
Bengio et al., arXiv 1308.3432): bits that were cut from the start would be the same for all images, and stay so.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from aae_zoo.zoo.parts import PriorSettings
from aae_zoo.zoo.priors import BasePrior


class Settings(PriorSettings):
    """`size` bits."""

    kind: Literal["bits"]


class Prior(BasePrior):
    """z = 1 where u >= 1/2, else -1."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.noise = self.latent = settings.size

    @property
    def choices(self) -> tuple[int, ...]:
        """All coordinates: each chooses a bit."""
        return tuple(range(self.noise))

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, size] of noise u [n, size]."""
        return {"z": _bits(u - 0.5)}

    def codes(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The signs of z; in training bits drawn by tanh z, with its gradient."""
        if not self.training:
            return {**outputs, "z": _bits(outputs["z"])}
        soft = outputs["z"].tanh()
        drawn = _bits(soft - (2 * torch.rand_like(soft) - 1))
        return {**outputs, "z": soft + (drawn - soft).detach()}


def _bits(values: Tensor) -> Tensor:
    return torch.where(values < 0, -torch.ones_like(values), torch.ones_like(values))
