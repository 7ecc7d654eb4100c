"""The adversarial autoencoder of one class, from which everything else is told by what it cannot restore.

As the adversarial autoencoder (Makhzani et al., arXiv 1511.05644) with two reconstructions: of the image, and of its
histograms of oriented gradients, in which error means another shape instead of a stroke that lies a pixel further.
What it restores them from is the code of the histograms with noise, as in the denoising adversarial autoencoder (A.
Creswell and A. A. Bharath, arXiv 1703.01220); the codes that the discriminator sees are those without.
"""

from typing import Annotated, Final, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveFloat
from torch import Generator, Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.detector import fit_detector
from aae_zoo.zoo.maths.adversary import discriminator_loss, generator_loss
from aae_zoo.zoo.networks import hog, mlp
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss, two_players
from aae_zoo.zoo.parts import PartSettings
from aae_zoo.zoo.segmenter import Segmenter, SegmenterSettings

# The paper of the method, on arXiv.
ARXIV: Final = "1511.05644"


def _unless_false(given: object) -> object:
    """None for false, as TOML has no word for nothing."""
    return None if given is False else given


class Settings(PartSettings):
    """The image's reconstruction loss, the weights of the other losses, the noise on the histograms, the discriminator.

    `corruption` is the noise's standard deviation; that of the histograms' own values is about 0.15. With a
    `segmenter` the detector looks for small defects too; without one, or with false, only whole pictures are odd.
    """

    kind: Literal["oneclass"]
    reconstruction: Reconstruction
    hog_weight: PositiveFloat
    corruption: Annotated[float, Field(ge=0)] = 0.0
    adversarial_weight: PositiveFloat
    segmenter: Annotated[SegmenterSettings | None, BeforeValidator(_unless_false)] = None
    discriminator_learning_rate: PositiveFloat
    discriminator: mlp.Settings


class Objective(BaseObjective):
    """Two reconstructions, discriminator, generator: one update of each on every batch."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        encoder, decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        if not isinstance(encoder, hog.Encoder) or not isinstance(decoder, hog.Decoder):
            raise InvalidRecipe("objective.kind = 'oneclass' needs encoder.kind and decoder.kind = 'hog'")
        if "y" in self.prior.heads():
            raise InvalidRecipe("objective.kind = 'oneclass' learns no classes; give another prior.kind")
        self.refuse_fitted(settings.kind, self.prior)
        self.settings, self.encoder, self.decoder = settings, encoder, decoder
        self.discriminator = mlp.Discriminator(settings.discriminator, self.prior.latent)
        self.optimisers = two_players(
            [encoder, decoder], learning_rate, [self.discriminator], settings.discriminator_learning_rate
        )
        self.segmenter: Segmenter | None = None
        if settings.segmenter:
            self.segmenter = Segmenter(settings.segmenter, autoencoder.image)
            self.optimisers["segmenter"] = self.segmenter.optimiser

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch: the discriminator learns first, then the autoencoder on the sum of its three losses."""
        x, Q, P, D = batch.image, self.encoder, self.decoder, self.discriminator
        h = Q.hog(x)
        noise = self.settings.corruption * torch.randn(h.shape, generator=generator, device=h.device)
        z, z_noisy = self.prior.codes({"z": Q.outputs_of(torch.cat([h, h + noise]))})["z"].chunk(2)

        # Discriminator:  min_D  -E log D(z')  -  E log(1 - D(Q(x))),    z' ~ p(z)
        loss_D = discriminator_loss(D, self.prior.draw(len(x), generator)["z"], z)
        self.update("discriminator", loss_D)

        # Autoencoder, with z~ the code of h + noise:
        #     min_Q,P  -E log P(x | z~)  +  weight * E |h - P_h(z~)|^2  -  weight * E log D(z)
        losses = {
            "reconstruction": reconstruction_loss(P.logits(z_noisy), x, self.settings.reconstruction),
            "hog": (P.restore(z_noisy) - h).square().sum(1).mean(),
            "generator": generator_loss(D, z),
        }
        weighted = self.settings.hog_weight * losses["hog"] + self.settings.adversarial_weight * losses["generator"]
        self.update("autoencoder", losses["reconstruction"] + weighted)
        losses["discriminator"] = loss_D

        # Segmenter:  min_S  -E log p(defect | x, S)  of images with defects pasted in, and of each of their pixels
        if self.segmenter:
            losses["segmenter"] = self.segmenter.loss(x, generator)
            self.update("segmenter", losses["segmenter"])
        return {name: loss.detach() for name, loss in losses.items()}

    def detector(self, model: Autoencoder, training: Tensor, validation: Tensor) -> nn.Module:
        """The one-class detector of the model."""
        return fit_detector(model, training, validation, self.segmenter)
