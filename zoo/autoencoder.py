"""The autoencoder that a recipe describes: encoder, decoder and prior."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.recipe import Recipe


class HasEncoder(nn.Module):
    """What encodes images with an encoder and a prior of its own, as each replica of a module has them."""

    encoder: BaseEncoder
    prior: BasePrior
    noisy: bool

    def outputs(self, image: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """The encoder's linear outputs by name; `noise` [n, 1, H, W] is for a noisy encoder, by default 0."""
        if self.noisy:
            image = torch.cat([image, torch.zeros_like(image[:, :1]) if noise is None else noise], dim=1)
        outputs: dict[str, Tensor] = self.encoder(image)
        return outputs

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """The codes of images by name: z, and what the prior and the objective add to it."""
        return self.prior.codes(self.outputs(image))


class Autoencoder(HasEncoder):
    """Encoder, decoder and prior for images of one shape (C, H, W).

    `heads` says which outputs of the encoder the objective wants in addition to the prior's; with `noisy` the
    encoder gets one more channel, of noise.
    """

    def __init__(
        self,
        recipe: Recipe,
        image: Sequence[int],
        heads: Callable[[BasePrior], Mapping[str, int]],
        *,
        noisy: bool,
    ) -> None:
        super().__init__()
        self.prior = load_part("priors", recipe.prior.kind).Prior(recipe.prior)
        self.noisy, self.image = noisy, tuple(image)
        encoder, decoder = load_part("networks", recipe.encoder.kind), load_part("networks", recipe.decoder.kind)
        seen = (image[0] + noisy, *image[1:])
        self.encoder = encoder.Encoder(recipe.encoder, seen, {**self.prior.heads(), **heads(self.prior)})
        code = self.prior.latent + (self.prior.classes if self.prior.conditional else 0)
        self.decoder: BaseDecoder = decoder.Decoder(recipe.decoder, code, image)

    def logits(self, codes: Mapping[str, Tensor]) -> Tensor:
        """The images of codes before the sigmoid; of the codes, the decoder takes what it needs."""
        return self.decoder.logits(codes["z"], codes["y"] if self.prior.conditional else None)


class ImageEncoder(HasEncoder):
    """Images [n, C, H, W] in [0, 1] to their codes by name: an autoencoder's encoder, and how its prior has codes."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.prior, self.noisy = model.encoder, model.prior, model.noisy

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The codes of images, without a noisy encoder's noise."""
        return self.encode(image)
