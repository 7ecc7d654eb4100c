"""The semi-supervised adversarial autoencoder, and clustering (Makhzani et al., arXiv 1511.05644, sections 5 and 6).

The encoder gives a style z and the probabilities of the classes y; the decoder gets both. Two discriminators see to
it that z is Gaussian and y one-hot, each class as often as every other. With labels for a few images the classes are
those of the labels; with none, clusters.

What is not in the paper is consistency: the class of an image that was turned, stretched and moved has to be that of
the image itself (Sajjadi et al., NeurIPS 2016). With labels the image's class is the target, where it is sure enough
(Sohn et al., "FixMatch", arXiv 2001.07685, equation 4); without, the two say as much of each other as they can. It
makes hundreds of times fewer epochs do.
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Generator, Tensor
from torch.optim import Adam

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.adversary import discriminator_loss, generator_loss
from aae_zoo.zoo.augmentation import Settings as Augmentation
from aae_zoo.zoo.augmentation import affine
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.networks import mlp
from aae_zoo.zoo.objectives import ADAM_BETAS, BaseObjective, Batch, Reconstruction, reconstruction_loss
from aae_zoo.zoo.parts import PartSettings
from aae_zoo.zoo.priors import categorical, open_uniform


class Settings(PartSettings):
    """The losses and their weights beside the reconstruction loss; the discriminators of style and classes.

    `confidence` is how sure of its class an image has to be to be a target of the consistency, and `temperature` what
    its logits are divided by for that: below 1, targets are surer than the encoder is (Berthelot et al., "MixMatch",
    arXiv 1905.02249, equation 7). Without `confidence` there are no targets: consistency is mutual information.
    """

    kind: Literal["semi"]
    reconstruction: Reconstruction
    adversarial_weight: PositiveFloat
    class_adversarial_weight: PositiveFloat
    balance_weight: NonNegativeFloat
    label_weight: NonNegativeFloat
    consistency_weight: NonNegativeFloat
    confidence: Annotated[float, Field(ge=0, lt=1)] | None = None
    temperature: PositiveFloat = 1.0
    augmentation: Augmentation
    discriminator_learning_rate: PositiveFloat
    discriminator: mlp.Settings


class Objective(BaseObjective):
    """Discriminators, then reconstruction, generators, labels and consistency: one update of each on every batch."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        if not isinstance(autoencoder.prior, categorical.Prior):
            raise InvalidRecipe("objective.kind = 'semi' needs prior.kind = 'categorical' or 'heads', for its classes")
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.logits = autoencoder.logits
        self.discriminator = mlp.Discriminator(settings.discriminator, self.prior.latent)
        self.class_discriminator = mlp.Discriminator(settings.discriminator, self.prior.classes)
        both = [*self.encoder.parameters(), *self.decoder.parameters(), *self.prior.parameters()]
        judges = [*self.discriminator.parameters(), *self.class_discriminator.parameters()]
        self.optimisers = {
            "autoencoder": Adam(both, learning_rate, betas=ADAM_BETAS, fused=True),
            "discriminator": Adam(judges, settings.discriminator_learning_rate, betas=ADAM_BETAS, fused=True),
        }

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch; the images of the labelled batch beside it only teach the classes."""
        x, s = batch.image, self.settings
        outputs = self.encoder(x)
        z, y_logits = outputs["z"], self.prior.class_logits(outputs["y"])
        y = y_logits.softmax(1)

        # Discriminators:  min_D  -E log D(z')  -  E log(1 - D(z)),  and the same for y
        drawn = self.prior.parts(open_uniform(len(x), self.prior.noise, generator))
        loss_D = discriminator_loss(self.discriminator, drawn["z"], z)
        loss_D_y = discriminator_loss(self.class_discriminator, drawn["y"], y)
        self.update("discriminator", loss_D + loss_D_y)

        # min_Q,P  -E log P(x | z, y)  -  w E log D(z)  -  w_y E log D_y(y)  -  w_l E log Q(label | x)  +  consistency
        losses = {
            "reconstruction": reconstruction_loss(self.logits(self.prior.codes(outputs)), x, s.reconstruction),
            "generator": generator_loss(self.discriminator, z),
            "class_generator": generator_loss(self.class_discriminator, y),
            "balance": math.log(self.prior.classes) + (y.mean(0) * y.mean(0).clamp(min=1e-8).log()).sum(),
            **self._class_losses(batch, y_logits, generator),
        }
        weights = {
            "generator": s.adversarial_weight,
            "class_generator": s.class_adversarial_weight,
            "balance": s.balance_weight,
            "consistency": s.consistency_weight,
            "label": s.label_weight,
        }
        total = sum((weights.get(name, 1.0) * loss for name, loss in losses.items()), self.prior.penalty())
        self.update("autoencoder", total)
        return {name: loss.detach() for name, loss in {**losses, "discriminator": loss_D + loss_D_y}.items()}

    def _class_losses(self, batch: Batch, y_logits: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Consistency of the changed images' classes with those of the images, and with labels their cross-entropy."""
        images = torch.cat([batch.image, batch.known_image])
        logits = self.prior.class_logits(self.encoder(affine(images, self.settings.augmentation, generator))["y"])
        of_batch, of_known = logits.split([len(batch.image), len(batch.known_image)])
        if self.settings.confidence is None:
            return {"consistency": -mutual_information(y_logits.softmax(1), of_batch.softmax(1))}
        target = (y_logits.detach() / self.settings.temperature).softmax(1)
        sure = (target.amax(1) >= self.settings.confidence).float()
        losses = {"consistency": (sure * F.cross_entropy(of_batch, target, reduction="none")).mean()}
        if len(of_known):
            losses["label"] = F.cross_entropy(of_known, batch.known_label)
        return losses


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """I(A; B) in nats of the classes of pairs of images, from their probabilities [n, classes].

    Ji et al., "Invariant information clustering" (arXiv 1807.06653), equation 3, with the joint distribution made
    symmetric: the largest value has each class as often as any other and the same one for both images of a pair.
    """
    joint = a.T @ b / len(a)
    joint = ((joint + joint.T) / 2).clamp(min=1e-8)
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return (joint * (joint / independent).log()).sum()
