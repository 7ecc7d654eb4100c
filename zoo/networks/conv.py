"""Small convolutional networks: strided convolutions down to a dense layer, and transposed ones back up."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.parts import PartSettings, Size

_LEAK: Final = 0.2


class Settings(PartSettings):
    """Channels of the convolutions, image side first, and the dense layer's width.

    Each convolution halves height and width; of an odd number the larger half remains. With `normalised` a batch
    normalisation follows each of an encoder, and each but the last of a decoder (Ioffe and Szegedy, arXiv 1502.03167):
    they then learn in a fraction of the steps. A discriminator has none.
    """

    kind: Literal["conv"]
    channels: Annotated[list[Size], Field(min_length=1)]
    hidden: Size
    normalised: bool = False


def _sizes(settings: Settings, image: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width before each convolution, and behind the last one."""
    sizes = [(image[1], image[2])]
    for _ in settings.channels:
        sizes.append(half(sizes[-1]))
    return sizes


def half(size: tuple[int, int]) -> tuple[int, int]:
    """What a convolution with the kernel of `kernel` leaves of a height and a width."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def kernel(size: tuple[int, int]) -> tuple[int, int]:
    """The kernel that halves a size with stride 2 and padding 1, and doubles it back: 4, or 3 where it is odd."""
    return 4 - size[0] % 2, 4 - size[1] % 2


def _norm(settings: Settings, channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if settings.normalised else []


@torch.no_grad()
def pass_through(norm: nn.BatchNorm2d) -> None:
    """Have a batch normalisation do nothing in evaluation mode: the convolution before it has taken it in."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101 - ours track them
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.zero_()


class Encoder(BaseEncoder):
    """Q(z|x): convolutions with stride 2, a dense layer, a linear output for every head."""

    def __init__(self, settings: Settings, image: Sequence[int], heads: Mapping[str, int]) -> None:
        super().__init__(heads)
        *sizes, coarsest = _sizes(settings, image)
        layers: list[nn.Module] = []
        for (inputs, outputs), size in zip(pairwise([image[0], *settings.channels]), sizes, strict=True):
            layers += [nn.Conv2d(inputs, outputs, kernel(size), stride=2, padding=1), *_norm(settings, outputs)]
            layers.append(nn.ReLU())
        dense = nn.Linear(settings.channels[-1] * math.prod(coarsest), settings.hidden)
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
        *sizes, last = _sizes(settings, image)
        coarsest = (settings.channels[-1], *last)
        layers: list[nn.Module] = [nn.Linear(code, settings.hidden), nn.ReLU()]
        layers += [nn.Linear(settings.hidden, math.prod(coarsest)), nn.ReLU(), nn.Unflatten(1, coarsest)]
        channels = pairwise([*reversed(settings.channels), image[0]])
        for (inputs, outputs), size in zip(channels, reversed(sizes), strict=True):
            layers.append(nn.ConvTranspose2d(inputs, outputs, kernel(size), stride=2, padding=1))
            layers += [*_norm(settings, outputs), nn.ReLU()]
        last_convolution = max(place for place, layer in enumerate(layers) if isinstance(layer, nn.ConvTranspose2d))
        self.layers = nn.Sequential(*layers[: last_convolution + 1])

    def outputs(self, code: Tensor) -> Tensor:
        """The images, linear."""
        images: Tensor = self.layers(code)
        return images


class Discriminator(nn.Module):
    """D(x): images [n, C, H, W] to the logit [n] of the probability that they are real.

    Leaky rectifiers, so that wherever an image is the generator learns which way is better (Radford et al., "DCGAN",
    arXiv 1511.06434, section 3).
    """

    def __init__(self, settings: Settings, image: Sequence[int]) -> None:
        super().__init__()
        *sizes, coarsest = _sizes(settings, image)
        layers: list[nn.Module] = []
        for (inputs, outputs), size in zip(pairwise([image[0], *settings.channels]), sizes, strict=True):
            layers += [nn.Conv2d(inputs, outputs, kernel(size), stride=2, padding=1), nn.LeakyReLU(_LEAK)]
        dense = nn.Linear(settings.channels[-1] * math.prod(coarsest), settings.hidden)
        self.layers = nn.Sequential(*layers, nn.Flatten(), dense, nn.LeakyReLU(_LEAK), nn.Linear(settings.hidden, 1))

    def forward(self, image: Tensor) -> Tensor:
        """The logit of each image."""
        logits: Tensor = self.layers(image)
        return logits.squeeze(1)
