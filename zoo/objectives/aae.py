"""The adversarial autoencoder (Makhzani et al., arXiv 1511.05644, section 2).

The encoder Q is also the generator of a GAN on the code space: the discriminator D tells codes drawn from the
prior p(z) from codes of images, and Q learns to be mistaken for the prior. Any prior that can be drawn from will do.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Generator, Tensor
from torch.optim import Adam

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.networks import mlp
from aae_zoo.zoo.objectives import BaseObjective, Reconstruction, reconstruction_loss
from aae_zoo.zoo.parts import PartSettings

# Adam's usual memory of 0.9 makes the two players of an adversarial game overshoot each other.
_BETAS = (0.5, 0.99)


class Settings(PartSettings):
    """The reconstruction loss, the weight of the generator's loss beside it, and the discriminator."""

    kind: Literal["aae"]
    reconstruction: Reconstruction
    adversarial_weight: PositiveFloat
    discriminator_learning_rate: PositiveFloat
    discriminator: mlp.Settings


class Objective(BaseObjective):
    """Reconstruction, discriminator, generator: one update of each on every batch."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.discriminator = mlp.Discriminator(settings.discriminator, self.prior.latent)
        both = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimisers = {
            "autoencoder": Adam(both, learning_rate, betas=_BETAS, fused=True),
            "discriminator": Adam(
                self.discriminator.parameters(), settings.discriminator_learning_rate, betas=_BETAS, fused=True
            ),
        }

    def step(self, x: Tensor, generator: Generator) -> dict[str, Tensor]:
        """One batch: the discriminator learns first, then the autoencoder on the sum of its two losses."""
        Q, P, D = self.encoder, self.decoder, self.discriminator
        z: Tensor = Q(x)["z"]

        # Discriminator: codes of the prior are real, codes of images are fake.
        #     min_D  -E log D(z')  -  E log(1 - D(Q(x))),    z' ~ p(z)
        z_prior = self.prior.draw(len(x), generator)["z"]
        D.requires_grad_(True)
        real, fake = D(torch.cat([z_prior, z.detach()])).chunk(2)
        loss_D = F.softplus(-real).mean() + F.softplus(fake).mean()
        self.update("discriminator", loss_D)

        # Reconstruction and generator, in the non-saturating form: one gradient for the encoder of both.
        #     min_Q,P  -E log P(x | Q(x))  -  weight * E log D(Q(x))
        D.requires_grad_(False)
        loss_reconstruction = reconstruction_loss(P.logits(z), x, self.settings.reconstruction)
        loss_generator = F.softplus(-D(z)).mean()
        self.update("autoencoder", loss_reconstruction + self.settings.adversarial_weight * loss_generator)

        losses = {"reconstruction": loss_reconstruction, "discriminator": loss_D, "generator": loss_generator}
        return {name: loss.detach() for name, loss in losses.items()}
