"""The adversarial autoencoder (Makhzani et al., arXiv 1511.05644, sections 2 and 2.3).

The encoder Q is also the generator of a GAN on the code space: the discriminator D tells codes drawn from the
prior p(z) from codes of images, and Q learns to be mistaken for the prior. Any prior that can be drawn from will do.

Label-informed (section 2.3), D sees a one-hot class beside the code, with one more class for "no label": the codes
of a class are compared with the draws of its own part of the prior, those without a label with all of it.
"""

import math
from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.adversary import ImageSettings
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.maths.adversary import discriminator_loss, generator_loss
from aae_zoo.zoo.networks import mlp
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss, two_players
from aae_zoo.zoo.parts import PartSettings
from aae_zoo.zoo.priors import BasePrior

# The paper of the method, on arXiv.
ARXIV: Final = "1511.05644"


class Settings(PartSettings):
    """The losses and their weights, the discriminator, and what kind of posterior the encoder is.

    `posterior` (section 2): "deterministic", z = f(x); "gaussian", whose mean and variance the encoder gives; or
    "universal", z = f(x, noise), the universal approximator. `entropy_weight` is that of a Gaussian posterior's
    entropy (section 2.1: the bound's middle term). Without it the variance goes to 0, which is easier to decode;
    with it codes take only as much room as tells images apart, and the decoder draws well between them. `images` is an
    adversary on images beside the one on codes.
    """

    kind: Literal["aae"]
    reconstruction: Reconstruction
    adversarial_weight: PositiveFloat
    discriminator_learning_rate: PositiveFloat
    discriminator: mlp.Settings
    images: ImageSettings | None = None
    posterior: Literal["deterministic", "gaussian", "universal"] = "deterministic"
    entropy_weight: Annotated[float, Field(ge=0)] = 0.0
    label_informed: bool = False


class Objective(BaseObjective):
    """Reconstruction, discriminator, generator: one update of each on every batch."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.outputs = autoencoder.outputs
        self.refuse_labels(settings.kind, self.prior)
        self.refuse_fitted(settings.kind, self.prior)
        if settings.label_informed and not self.prior.classes:
            raise InvalidRecipe("objective.label_informed needs a prior of classes, such as 'mixture' or 'swissroll'")
        if settings.entropy_weight and settings.posterior != "gaussian":
            raise InvalidRecipe("objective.entropy_weight needs posterior = 'gaussian', whose entropy is known")
        seen = self.prior.latent + (self.prior.classes + 1 if settings.label_informed else 0)
        self.discriminator = mlp.Discriminator(settings.discriminator, seen)
        self.optimisers = two_players(
            [self.encoder, self.decoder], learning_rate, [self.discriminator], settings.discriminator_learning_rate
        )
        self.images = self.add_image_adversary(settings.images, autoencoder)

    @staticmethod
    def heads(settings: Settings, prior: BasePrior) -> dict[str, int]:
        """A Gaussian posterior has the logarithm of its variance in addition to its mean z."""
        return {"log_var": prior.latent} if settings.posterior == "gaussian" else {}

    @staticmethod
    def noisy(settings: Settings) -> bool:
        """The universal approximator takes noise."""
        return settings.posterior == "universal"

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch: the discriminator learns first, then the autoencoder on the sum of its two losses."""
        P, D = self.decoder, self.discriminator
        x, label = self._images(batch)
        z, entropy = self.posterior(x, generator)

        # Discriminator: codes of the prior are real, codes of images are fake.
        #     min_D  -E log D(z')  -  E log(1 - D(Q(x))),    z' ~ p(z)
        z_prior = self.prior.draw(len(x), generator, label)["z"]
        loss_D = discriminator_loss(D, self._seen(z_prior, label), self._seen(z, label))
        self.update("discriminator", loss_D)

        # Reconstruction and generator: one gradient for the encoder of both, and of the entropy of its posterior.
        #     min_Q,P  -E log P(x | Q(x))  -  weight * E log D(Q(x))  -  weight * E H(Q(z | x))
        loss_reconstruction = reconstruction_loss(P.logits(z), x, self.settings.reconstruction)
        loss_generator = generator_loss(D, self._seen(z, label))
        loss = loss_reconstruction + self.settings.adversarial_weight * loss_generator
        losses = {"reconstruction": loss_reconstruction, "discriminator": loss_D, "generator": loss_generator}
        if self.images:
            losses |= self.play(self.images, x, P.logits(z_prior).sigmoid(), generator)
            loss = loss + self.images.settings.weight * losses["image_generator"]
        if entropy is not None:
            loss = loss - self.settings.entropy_weight * entropy
            losses["entropy"] = entropy
        self.update("autoencoder", loss)
        return {name: loss.detach() for name, loss in losses.items()}

    def posterior(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor | None]:
        """One draw z [n, latent] of the posterior Q(z|x) for each image; of a Gaussian one its mean entropy in nats."""
        if self.settings.posterior == "universal":
            noise = torch.randn(x[:, :1].shape, generator=generator, device=x.device)
            return self.prior.codes(self.outputs(x, noise))["z"], None
        codes = self.prior.codes(self.outputs(x))
        if self.settings.posterior == "gaussian":
            log_var = codes["log_var"]
            noise = torch.randn(log_var.shape, generator=generator, device=x.device)
            entropy = 0.5 * (1 + math.log(2 * math.pi) + log_var).sum(1).mean()
            return codes["z"] + (log_var / 2).exp() * noise, entropy
        return codes["z"], None

    def _images(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """What to train on, and the labels that the discriminator sees.

        Label-informed, the labelled batch is part of it: the many images without a label would otherwise hold a class
        where it first fell, among draws of another class's part of the prior.
        """
        if not self.settings.label_informed:
            return batch.image, None
        return torch.cat([batch.image, batch.known_image]), torch.cat([batch.label, batch.known_label])

    def _seen(self, z: Tensor, label: Tensor | None) -> Tensor:
        """What the discriminator sees: the code, and with a label its class, where the last is "no label"."""
        if label is None:
            return z
        known = label.masked_fill(label < 0, self.prior.classes)
        return torch.cat([z, F.one_hot(known, self.prior.classes + 1).to(z.dtype)], dim=1)
