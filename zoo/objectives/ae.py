"""The plain autoencoder, and with corruption the denoising one (Vincent et al., ICML 2008).

It asks nothing of its codes: the prior to sample it with is fitted to them (the kind "fitted").
"""

from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.maths.optimiser import adam
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss
from aae_zoo.zoo.parts import PartSettings

# The papers of the method are not on arXiv.
ARXIV: Final = None


class Settings(PartSettings):
    """The reconstruction loss, and the standard deviation of the Gaussian noise that corrupts the input."""

    kind: Literal["ae"]
    reconstruction: Reconstruction
    corruption: Annotated[float, Field(ge=0)] = 0.0


class Objective(BaseObjective):
    """min_Q,P  -E log P(x | Q(x~)),    x~ = x + noise cut to [0, 1]: the clean image is the target."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        self.refuse_labels(settings.kind, autoencoder.prior)
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.optimisers = {"autoencoder": adam([self.encoder, self.decoder], learning_rate)}

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch."""
        x = corrupted = batch.image
        if self.settings.corruption:
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            corrupted = (x + self.settings.corruption * noise).clamp(0, 1)
        z = self.prior.codes(self.encoder(corrupted))["z"]
        loss = reconstruction_loss(self.decoder.logits(z), x, self.settings.reconstruction)
        self.update("autoencoder", loss)
        return {"reconstruction": loss.detach()}
