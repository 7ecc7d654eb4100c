"""The autoencoder that a recipe describes: encoder, decoder and prior."""

from collections.abc import Mapping, Sequence

from torch import nn

from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.recipe import Recipe


class Autoencoder(nn.Module):
    """Encoder, decoder and prior for images of one shape (C, H, W); `heads` are those of the objective."""

    def __init__(self, recipe: Recipe, image: Sequence[int], heads: Mapping[str, int]) -> None:
        super().__init__()
        self.prior: BasePrior = load_part("priors", recipe.prior.kind).Prior(recipe.prior)
        encoder, decoder = load_part("networks", recipe.encoder.kind), load_part("networks", recipe.decoder.kind)
        self.encoder: BaseEncoder = encoder.Encoder(recipe.encoder, image, heads)
        self.decoder: BaseDecoder = decoder.Decoder(recipe.decoder, self.prior.latent, image)
