"""The supervised adversarial autoencoder (Makhzani et al., arXiv 1511.05644, section 4).

The decoder gets the label with the code, so the code does not have to tell the class and keeps the style. The paper
stops there; here the encoder learns to name the class as well (cross-entropy), so that an image without a label can
be reconstructed too, and the discriminator sees the label with the code: in every class, not only over all of them,
codes have to be the prior's, or a code drawn for one class would be drawn as another. Of several attributes the
decoder gets each, and the encoder learns to name each.
"""

from typing import Final, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Generator, Tensor

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.adversary import ImageSettings
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.maths.adversary import discriminator_loss, generator_loss
from aae_zoo.zoo.networks import mlp
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss, two_players
from aae_zoo.zoo.parts import PartSettings

# The paper of the method, on arXiv.
ARXIV: Final = "1511.05644"


class Settings(PartSettings):
    """The reconstruction loss, the weights of the other losses, the discriminator, and an adversary on images."""

    kind: Literal["supervised"]
    reconstruction: Reconstruction
    adversarial_weight: PositiveFloat
    label_weight: PositiveFloat
    discriminator_learning_rate: PositiveFloat
    discriminator: mlp.Settings
    images: ImageSettings | None = None


class Objective(BaseObjective):
    """As the adversarial autoencoder, with P(x | z, y) for the label y of every image."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        if not autoencoder.prior.conditional:
            raise InvalidRecipe("objective.kind = 'supervised' needs prior.kind = 'categorical' or 'attributes'")
        if autoencoder.prior.subheads > 1:
            raise InvalidRecipe("objective.kind = 'supervised' knows the classes; leave out prior.subheads")
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.discriminator = mlp.Discriminator(settings.discriminator, self.prior.latent + self.prior.classes)
        self.optimisers = two_players(
            [self.encoder, self.decoder], learning_rate, [self.discriminator], settings.discriminator_learning_rate
        )
        self.images = self.add_image_adversary(settings.images, autoencoder)

    def check_labels(self, known: int, images: int) -> None:
        """Of all images; attributes are always those of all."""
        if known < images and not self.prior.widths:
            raise InvalidRecipe(
                f"objective.kind = 'supervised' learns from the labels of all {images} training images, and knows "
                f"those of {known}; set data.labels to -1, or give 'semi'"
            )

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch, every image of which has a label, or a value of every attribute."""
        x, Q, P, D = batch.image, self.encoder, self.decoder, self.discriminator
        outputs = Q(x)
        z, y_logits = self.prior.codes(outputs)["z"], outputs["y"]
        labels = [batch.label] if batch.attributes is None else batch.attributes.unbind(1)
        widths = self.prior.widths or (self.prior.classes,)
        y = torch.cat([F.one_hot(k, width) for k, width in zip(labels, widths, strict=True)], 1).to(z.dtype)

        # Discriminator:  min_D  -E log D(z', y)  -  E log(1 - D(z, y)),    z' ~ p(z)
        z_prior = self.prior.draw(len(x), generator)["z"]
        loss_D = discriminator_loss(D, torch.cat([z_prior, y], 1), torch.cat([z, y], 1))
        self.update("discriminator", loss_D)

        # min_Q,P  -E log P(x | z, y)  -  weight * E log D(z, y)  -  weight * E log Q(y | x), summed over attributes
        losses = {
            "reconstruction": reconstruction_loss(P.logits(z, y), x, self.settings.reconstruction),
            "generator": generator_loss(D, torch.cat([z, y], 1)),
            "label": torch.stack([*map(F.cross_entropy, y_logits.split(widths, 1), labels)]).sum(),
        }
        loss = losses["reconstruction"] + self.settings.adversarial_weight * losses["generator"]
        loss = loss + self.settings.label_weight * losses["label"]
        if self.images:
            losses |= self.play(self.images, x, P.logits(z_prior, y).sigmoid(), generator)
            loss = loss + self.images.settings.weight * losses["image_generator"]
        self.update("autoencoder", loss)
        return {name: loss.detach() for name, loss in {**losses, "discriminator": loss_D}.items()}
