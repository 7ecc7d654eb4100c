"""A class and a Gaussian style, independent of each other: y uniform over the classes, z ~ N(0, std^2 I).

The prior of Makhzani et al. (arXiv 1511.05644) wherever the decoder gets a label beside the code: supervised
(figure 5), semi-supervised (figure 8) and clustering (section 6).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from aae_zoo.zoo.parts import PriorSettings
from aae_zoo.zoo.priors import BasePrior, one_hot
from aae_zoo.zoo.quantile import normal_quantile


class Settings(PriorSettings):
    """How many classes, and the standard deviation of each coordinate of the style z."""

    kind: Literal["categorical"]
    classes: PositiveInt
    std: PositiveFloat = 1.0


class Prior(BasePrior):
    """z = std * quantile(u) of all coordinates but the last, which chooses y."""

    conditional = True

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.latent, self.noise = settings.size, settings.size + 1
        self.classes, self.label_coordinate, self.std = settings.classes, settings.size, settings.std

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Styles z [n, size] and one-hot classes y [n, classes] of noise u [n, size + 1]."""
        return self.parts(u)

    def parts(self, u: Tensor) -> dict[str, Tensor]:
        """Styles z and one-hot classes y, before a prior built on this one puts them together."""
        return {"z": self.std * normal_quantile(u[:, :-1]), "y": one_hot(u[:, -1], self.classes)}

    def penalty(self) -> Tensor:
        """What training adds to the losses for the prior's own parameters, of which this one has none."""
        return torch.zeros(())

    def heads(self) -> dict[str, int]:
        """The style, and the logits of the classes."""
        return {"z": self.latent, "y": self.classes}

    def codes(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The style, and the probabilities of the classes."""
        return {**outputs, "y": outputs["y"].softmax(1)}
