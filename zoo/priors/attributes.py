"""Several attributes and a Gaussian style, all independent of each other: y uniform over the values of each.

As the categorical prior, which has one attribute: in y each has a one-hot part, one after the other. So several things
can be asked for at once, and what is left to the style is what none of them says.
"""

from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import PriorSettings, Size
from aae_zoo.zoo.priors import BasePrior, one_hot


class Settings(PriorSettings):
    """How many values each attribute has, in the order of data.attributes, and the standard deviation of the style.

    With `normalised` the encoder's styles are normalised over the batch, as the Gaussian prior's codes are.
    """

    kind: Literal["attributes"]
    classes: Annotated[tuple[Size, ...], Field(min_length=1, max_length=100, strict=False)]
    std: PositiveFloat = 1.0
    normalised: bool = False


class Prior(BasePrior):
    """z = std * quantile(u) of the first coordinates; each of the others chooses an attribute's value."""

    conditional = True

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.latent, self.widths, self.std = settings.size, settings.classes, settings.std
        self.classes, self.coordinates = sum(self.widths), tuple(self.latent + i for i in range(len(self.widths)))
        self.noise = self.latent + len(self.widths)
        self.normalise = nn.BatchNorm1d(self.latent, affine=False) if settings.normalised else None

    @property
    def choices(self) -> tuple[int, ...]:
        """The coordinates that choose values."""
        return self.coordinates

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Styles z [n, size] and values y [n, classes] of noise u [n, size + attributes]."""
        chosen = [one_hot(u[:, i], width) for i, width in zip(self.coordinates, self.widths, strict=True)]
        return {"z": self.std * normal_quantile(u[:, : self.latent]), "y": torch.cat(chosen, 1)}

    def heads(self) -> dict[str, int]:
        """The style, and the logits of the values."""
        return {"z": self.latent, "y": self.classes}

    def codes(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The style, normalised where that is asked for, and the probabilities of each attribute's values."""
        z = outputs["z"] if self.normalise is None else self.std * self.normalise(outputs["z"])
        # Slices, not a split: an operator that every engine has.
        ends = [*accumulate(self.widths)]
        parts = [outputs["y"][:, end - width : end].softmax(1) for end, width in zip(ends, self.widths, strict=True)]
        return {"z": z, "y": torch.cat(parts, 1)}
