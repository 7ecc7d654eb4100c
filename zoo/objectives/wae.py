"""The Wasserstein autoencoder with the MMD penalty (Tolstikhin et al., arXiv 1711.01558, algorithm 2).

Like the adversarial autoencoder, it wants the codes of images to be distributed as the prior; instead of a
discriminator, a kernel estimate of the distance on every batch says how far they are from it.
"""

from typing import Final, Literal

import torch
from pydantic import PositiveFloat
from torch import Generator, Tensor
from torch.optim import Adam

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.maths.mmd import mmd2
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss
from aae_zoo.zoo.parts import PartSettings

# The paper of the method, on arXiv.
ARXIV: Final = "1711.01558"


class Settings(PartSettings):
    """The reconstruction loss, and the weight of the MMD^2 (lambda in the paper)."""

    kind: Literal["wae"]
    reconstruction: Reconstruction
    mmd_weight: PositiveFloat


class Objective(BaseObjective):
    """min_Q,P  -E log P(x | Q(x))  +  weight * MMD^2(Q(x), p(z))."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        self.refuse_labels(settings.kind, autoencoder.prior)
        self.refuse_fitted(settings.kind, autoencoder.prior)
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.variance = self.prior.variance(torch.Generator().manual_seed(0))
        both = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimisers = {"autoencoder": Adam(both, learning_rate, fused=True)}

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch."""
        x = batch.image
        z = self.prior.codes(self.encoder(x))["z"]
        z_prior = self.prior.draw(len(x), generator)["z"]
        loss_reconstruction = reconstruction_loss(self.decoder.logits(z), x, self.settings.reconstruction)
        loss_mmd = mmd2(z, z_prior, self.variance)
        self.update("autoencoder", loss_reconstruction + self.settings.mmd_weight * loss_mmd)
        return {"reconstruction": loss_reconstruction.detach(), "mmd": loss_mmd.detach()}
