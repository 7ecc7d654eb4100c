"""The second adversary of an adversarial autoencoder: a discriminator of images, beside the one of codes.

That codes of images are spread as the prior's is not enough for draws to look real: between the codes that it has
seen, the decoder draws what squared error cannot mind, a mean of two digits. Here a discriminator D learns to tell
what is decoded from draws of the prior from real images, and the decoder P learns to be mistaken for them:

    min_D  -E log D(x)  -  E log(1 - D(P(z'))),    min_P  -E log D(P(z')),    z' ~ p(z)

Rosca et al., "Variational approaches for auto-encoding generative adversarial networks" (arXiv 1706.04987), algorithm
1, whose two discriminators are these; after Larsen et al., "Autoencoding beyond pixels" (arXiv 1512.09300).
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor, nn

from aae_zoo.zoo.maths.adversary import discriminator_loss, generator_loss
from aae_zoo.zoo.maths.optimiser import adam
from aae_zoo.zoo.networks import conv
from aae_zoo.zoo.parts import Settings


class ImageSettings(Settings):
    """[objective.images]: the weight of P's loss in the autoencoder's, and the discriminator of images.

    `noise` is the standard deviation of what is added to all that D sees, at first; it falls to 0 with the learning
    rate. Real and drawn images then overlap from the start, and D's gradient says where to go (Arjovsky and Bottou,
    "Towards principled methods for training GANs", arXiv 1701.04862, section 3).
    """

    weight: PositiveFloat
    learning_rate: PositiveFloat
    noise: Annotated[float, Field(ge=0)] = 0.0
    discriminator: conv.Settings


class ImageAdversary(nn.Module):
    """The discriminator of images, its optimiser, and what both players of its game lose."""

    def __init__(self, settings: ImageSettings, image: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        self.discriminator = conv.Discriminator(settings.discriminator, image)
        self.optimiser = adam([self.discriminator], settings.learning_rate)

    def discriminator_loss(self, real: Tensor, drawn: Tensor, generator: Generator) -> Tensor:
        """D's loss for real images and drawn ones, [n, C, H, W] in [0, 1], as many of each."""
        return discriminator_loss(self.discriminator, self._blurred(real, generator), self._blurred(drawn, generator))

    def generator_loss(self, drawn: Tensor, generator: Generator) -> Tensor:
        """P's loss for the images that it drew."""
        return generator_loss(self.discriminator, self._blurred(drawn, generator))

    def _blurred(self, image: Tensor, generator: Generator) -> Tensor:
        """The images with as much noise as is left of it."""
        rate: float | Tensor = self.optimiser.param_groups[0]["lr"]  # a tensor where it changes on a card
        std = self.settings.noise * rate / self.settings.learning_rate
        blurred: Tensor = image + std * torch.randn(image.shape, generator=generator, device=image.device)
        return blurred
