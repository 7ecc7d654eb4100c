"""Cluster heads, one for each class, and a style around them (Makhzani et al., arXiv 1511.05644, section 7).

The code is z = W y + style: the class of an image and its style, in as few numbers as a picture can show. The
heads W are learnt; no two may come closer than a distance.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from aae_zoo.zoo.parts import PriorSettings, Size
from aae_zoo.zoo.priors import categorical


class Settings(PriorSettings):
    """How many heads; the standard deviation of the style; how far apart heads are kept."""

    kind: Literal["heads"]
    classes: Size
    std: PositiveFloat
    distance: PositiveFloat


class Prior(categorical.Prior):
    """z = W y + std * quantile(u), y chosen by the last coordinate: the decoder gets z alone."""

    conditional = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(categorical.Settings(kind="categorical", **settings.model_dump(exclude={"kind", "distance"})))
        self.distance = settings.distance
        self.heads_of_classes = nn.Parameter(settings.distance * torch.randn(settings.classes, settings.size))

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, size] of noise u [n, size + 1]."""
        return {"z": self.together(self.parts(u))["z"]}

    def together(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The style moved to the head of its class, and the class."""
        return {"z": parts["z"] + parts["y"] @ self.heads_of_classes, "y": parts["y"]}

    def penalty(self) -> Tensor:
        """How much each distance between heads is too short, squared and summed."""
        return (self.distance - nn.functional.pdist(self.heads_of_classes)).relu().square().sum()
