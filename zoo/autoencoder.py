"""The autoencoder that a recipe describes: encoder, decoder and prior."""

from collections.abc import Sequence

from torch import nn

from aae_zoo.zoo.networks import BaseDecoder
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.recipe import Recipe


class Autoencoder(nn.Module):
    """Encoder, decoder and prior for images of one shape (C, H, W)."""

    def __init__(self, recipe: Recipe, image: Sequence[int]) -> None:
        super().__init__()
        self.prior: BasePrior = load_part("priors", recipe.prior.kind).Prior(recipe.prior)
        latent = self.prior.latent
        self.encoder: nn.Module = load_part("networks", recipe.encoder.kind).Encoder(recipe.encoder, image, latent)
        self.decoder: BaseDecoder = load_part("networks", recipe.decoder.kind).Decoder(recipe.decoder, latent, image)
