"""The variational autoencoder (Kingma & Welling, "Auto-encoding variational Bayes", arXiv 1312.6114).

The encoder gives a Gaussian posterior q(z|x) = N(z, exp(log_var)); its mean is the code z that everything else uses.
"""

import math
from typing import Final, Literal

import torch
from torch import Generator, Tensor
from torch.optim import Adam

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss
from aae_zoo.zoo.parts import PartSettings
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.priors.gaussian import Prior

# The paper of the method, on arXiv.
ARXIV: Final = "1312.6114"


class Settings(PartSettings):
    """The reconstruction loss: "bce" makes the sum of the losses a bound on the likelihood of binary pixels."""

    kind: Literal["vae"]
    reconstruction: Reconstruction


class Objective(BaseObjective):
    """min_Q,P  -E log P(x | z)  +  KL(q(z|x) || p(z)),    z ~ q(z|x)."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        if not isinstance(autoencoder.prior, Prior):
            raise InvalidRecipe("objective.kind = 'vae' needs prior.kind = 'gaussian', whose KL has a closed form")
        if autoencoder.prior.normalise is not None:
            raise InvalidRecipe("objective.kind = 'vae' has the KL see to the codes; leave out prior.normalised")
        self.settings = settings
        self.std = autoencoder.prior.std
        self.encoder, self.decoder = autoencoder.encoder, autoencoder.decoder
        both = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimisers = {"autoencoder": Adam(both, learning_rate, fused=True)}

    @staticmethod
    def heads(settings: Settings, prior: BasePrior) -> dict[str, int]:  # noqa: ARG004
        """In addition to the posterior's mean, which is the code z, the logarithm of its variance."""
        return {"log_var": prior.latent}

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch, with one draw from the posterior for each image (the paper's sections 2.3 and 2.4)."""
        x = batch.image
        mean, log_var = self.encoder(x).values()
        z = mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=generator, device=mean.device)
        loss_reconstruction = reconstruction_loss(self.decoder.logits(z), x, self.settings.reconstruction)
        loss_kl = gaussian_kl(mean, log_var, self.std)
        self.update("autoencoder", loss_reconstruction + loss_kl)
        return {"reconstruction": loss_reconstruction.detach(), "kl": loss_kl.detach()}


def gaussian_kl(mean: Tensor, log_var: Tensor, std: float) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, std^2)), summed over the code and averaged over the batch (appendix B)."""
    ratio = (log_var.exp() + mean.square()) / std**2
    return 0.5 * (ratio - 1 - log_var + 2 * math.log(std)).sum(1).mean()
