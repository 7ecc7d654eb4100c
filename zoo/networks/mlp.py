"""Multilayer perceptrons: the networks of Makhzani et al., "Adversarial Autoencoders" (arXiv 1511.05644)."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.parts import PartSettings, Size


class Settings(PartSettings):
    """Widths of the hidden layers, input side first, and the dropout behind each."""

    kind: Literal["mlp"]
    hidden: list[Size]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


def _perceptron(inputs: int, settings: Settings, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, following in pairwise([inputs, *settings.hidden]):
        layers += [nn.Linear(width, following), nn.ReLU()]
        if settings.dropout:
            layers.append(nn.Dropout(settings.dropout))
    return nn.Sequential(*layers, nn.Linear(settings.hidden[-1] if settings.hidden else inputs, outputs))


class Encoder(BaseEncoder):
    """Q(z|x) as a perceptron with a linear output."""

    def __init__(self, settings: Settings, image: Sequence[int], heads: Mapping[str, int]) -> None:
        super().__init__(heads)
        self.layers = _perceptron(math.prod(image), settings, sum(heads.values()))

    def outputs(self, image: Tensor) -> Tensor:
        """All heads side by side."""
        outputs: Tensor = self.layers(image.flatten(1))
        return outputs


class Decoder(BaseDecoder):
    """P(x|z) as a perceptron."""

    def __init__(self, settings: Settings, code: int, image: Sequence[int]) -> None:
        super().__init__()
        self.image = tuple(image)
        self.layers = _perceptron(code, settings, math.prod(image))

    def outputs(self, code: Tensor) -> Tensor:
        """The images, linear."""
        images: Tensor = self.layers(code).unflatten(1, self.image)
        return images


class Discriminator(nn.Module):
    """D(z): codes [n, latent] to the logit [n] of the probability that they were drawn from the prior."""

    def __init__(self, settings: Settings, latent: int) -> None:
        super().__init__()
        self.layers = _perceptron(latent, settings, 1)

    def forward(self, z: Tensor) -> Tensor:
        """The logit of each code."""
        logits: Tensor = self.layers(z)
        return logits.squeeze(1)
