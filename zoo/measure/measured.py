"""What has figures: whatever encodes, decodes and draws; and PyTorch's networks as that."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Generator, Tensor

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.priors import open_uniform

# By name: z [n, latent], and y [n, classes] where there are classes.
Codes = Mapping[str, Tensor]


class Draws(NamedTuple):
    """Codes that a prior draws, and the class [n] that each was drawn for, or None where the prior tells none."""

    codes: Codes
    label: Tensor | None


class Measured(Protocol):
    """A model as its figures see it, in evaluation mode: the same three things that its graphs do.

    Its tensors are where the data are that it is measured on; the generator is the CPU's, wherever the model is.
    """

    def encode(self, image: Tensor, /) -> Codes:
        """The codes of images [n, C, H, W] in [0, 1]."""

    def decode(self, codes: Codes, /) -> Tensor:
        """The images [n, C, H, W] of codes, before the sigmoid."""

    def draw(self, count: int, generator: Generator, /) -> Draws:
        """`count` draws of the prior, with the generator's noise."""


class Networks:
    """An autoencoder in PyTorch, which is put into evaluation mode."""

    def __init__(self, model: Autoencoder) -> None:
        self.model = model.eval()

    def encode(self, image: Tensor) -> Codes:
        """The codes of images."""
        return self.model.encode(image)

    def decode(self, codes: Codes) -> Tensor:
        """The images of codes, before the sigmoid."""
        return self.model.logits(codes)

    def draw(self, count: int, generator: Generator) -> Draws:
        """`count` draws of the prior."""
        prior = self.model.prior
        u = open_uniform(count, prior.noise, generator).to(next(self.model.parameters()).device)
        at = prior.label_coordinate
        return Draws(prior(u), None if at is None else (u[:, at] * prior.classes).long())
