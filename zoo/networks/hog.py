"""Perceptrons that see the histograms of oriented gradients of an image (HOG), and restore them beside the image."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field
from torch import Tensor, nn

from aae_zoo.zoo.maths.hog import LEAST_EDGE, OrientedGradients
from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.parts import PartSettings, Size

# About the mean of the histograms' values.
_CENTRE: Final = 0.25


class Settings(PartSettings):
    """The width of the two hidden layers of each perceptron, and of an encoder below which gradient there is no edge.

    A step has half its height as gradient. JPEG of quality 90 makes some of 0.01 where there are none.
    """

    kind: Literal["hog"]
    hidden: Size
    least_edge: Annotated[float, Field(gt=0, lt=1)] = LEAST_EDGE


class Encoder(BaseEncoder):
    """Q(z|x): a perceptron of two hidden layers on the histograms."""

    def __init__(self, settings: Settings, image: Sequence[int], heads: Mapping[str, int]) -> None:
        super().__init__(heads)
        self.hog = OrientedGradients(image, settings.least_edge)
        self.layers = _perceptron(self.hog.size, settings.hidden, sum(heads.values()))

    def outputs(self, image: Tensor) -> Tensor:
        """All heads side by side."""
        return self.outputs_of(self.hog(image))

    def outputs_of(self, hog: Tensor) -> Tensor:
        """All heads side by side, of the histograms [n, size] themselves."""
        outputs: Tensor = self.layers(hog - _CENTRE)
        return outputs


class Decoder(BaseDecoder):
    """P(x|z): a perceptron of two hidden layers, and another one for the histograms."""

    def __init__(self, settings: Settings, code: int, image: Sequence[int]) -> None:
        super().__init__()
        self.image = tuple(image)
        self.layers = _perceptron(code, settings.hidden, math.prod(image))
        self.hog = _perceptron(code, settings.hidden, OrientedGradients(image).size)

    def outputs(self, code: Tensor) -> Tensor:
        """The images, linear."""
        images: Tensor = self.layers(code).unflatten(1, self.image)
        return images

    def restore(self, code: Tensor) -> Tensor:
        """The histograms [n, size] that belong to codes z [n, latent], with y side by side where there is one."""
        hog: Tensor = self.hog(code)
        return hog + _CENTRE


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers)
