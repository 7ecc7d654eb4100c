"""Small convolutional networks: strided convolutions down to a dense layer, and transposed ones back up."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.parts import PartSettings


class Settings(PartSettings):
    """Channels of the convolutions, image side first, each halving height and width, and the dense layer's width."""

    kind: Literal["conv"]
    channels: Annotated[list[PositiveInt], Field(min_length=1)]
    hidden: PositiveInt


def _coarsest(settings: Settings, image: Sequence[int]) -> tuple[int, int, int]:
    """The shape (C, H, W) behind the last convolution."""
    _, height, width = image
    factor = 2 ** len(settings.channels)
    if height % factor or width % factor:
        raise InvalidRecipe(
            f"images of {height} x {width} cannot be halved {len(settings.channels)} times, as channels = "
            f"{settings.channels} asks; give fewer channels, or kind = 'mlp'"
        )
    return settings.channels[-1], height // factor, width // factor


class Encoder(BaseEncoder):
    """Q(z|x): convolutions with stride 2, a dense layer, a linear output for every head."""

    def __init__(self, settings: Settings, image: Sequence[int], heads: Mapping[str, int]) -> None:
        super().__init__(heads)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([image[0], *settings.channels]):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU()]
        dense = nn.Linear(math.prod(_coarsest(settings, image)), settings.hidden)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), dense, nn.ReLU(), nn.Linear(settings.hidden, sum(heads.values()))
        )

    def outputs(self, image: Tensor) -> Tensor:
        """All heads side by side."""
        outputs: Tensor = self.layers(image)
        return outputs


class Decoder(BaseDecoder):
    """P(x|z): two dense layers, then transposed convolutions with stride 2."""

    def __init__(self, settings: Settings, code: int, image: Sequence[int]) -> None:
        super().__init__()
        coarsest = _coarsest(settings, image)
        layers: list[nn.Module] = [nn.Linear(code, settings.hidden), nn.ReLU()]
        layers += [nn.Linear(settings.hidden, math.prod(coarsest)), nn.ReLU(), nn.Unflatten(1, coarsest)]
        for inputs, outputs in pairwise([*reversed(settings.channels), image[0]]):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def outputs(self, code: Tensor) -> Tensor:
        """The images, linear."""
        images: Tensor = self.layers(code)
        return images
