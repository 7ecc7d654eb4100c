"""A Gaussian mixture fitted to the codes of training images, for autoencoders that have no prior of their own.

Ghosh et al., "From variational to deterministic autoencoders" (ICLR 2020), section 4: an ex-post density estimate.
"""

from typing import Literal

import torch
from torch import Tensor

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.maths.mixtures import fit_mixture
from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import PriorSettings, Size
from aae_zoo.zoo.priors import BasePrior


class Settings(PriorSettings):
    """How many Gaussians the mixture has."""

    kind: Literal["fitted"]
    components: Size


class Prior(BasePrior):
    """z = mean_k + L_k quantile(u) of all coordinates but the last, which chooses k; L_k L_k^T is k's covariance."""

    fitted = True
    until: Tensor  # the cumulated weights [components]: component k is until[k - 1] < u <= until[k]
    means: Tensor
    factors: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        count, size = settings.components, settings.size
        self.latent, self.noise = size, size + 1
        self.register_buffer("until", torch.arange(1, count + 1) / count)
        self.register_buffer("means", torch.zeros(count, size))
        self.register_buffer("factors", torch.eye(size).repeat(count, 1, 1))

    @property
    def choices(self) -> tuple[int, ...]:
        """The last coordinate, which chooses the Gaussian."""
        return (self.latent,)

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, size] of noise u [n, size + 1]."""
        chosen = self.chosen(u)
        factors = (chosen @ self.factors.flatten(1)).unflatten(1, (self.latent, self.latent))
        return {"z": chosen @ self.means + (factors * normal_quantile(u[:, :-1])[:, None]).sum(2)}

    def chosen(self, u: Tensor) -> Tensor:
        """Which Gaussian noise u [n, size + 1] chooses, one-hot [n, components]."""
        below = 1 - (u[:, -1:] > self.until[:-1]).to(u.dtype)  # [n, components - 1]: ones from component k on
        first = u[:, -1:]
        return torch.cat([below, torch.ones_like(first)], 1) - torch.cat([torch.zeros_like(first), below], 1)

    def fit(self, z: Tensor, seed: int) -> None:
        """Fit the mixture by expectation maximisation, from k-means++ centres.

        Raises:
            InvalidRecipe: there are more Gaussians than codes.
        """
        if len(z) < len(self.means):
            raise InvalidRecipe(
                f"prior.components is {len(self.means)}, expected at most {len(z)}, as many as there are images"
            )
        mixture = fit_mixture(z, len(self.means), seed)
        self.until.copy_(torch.from_numpy(mixture.weights.cpu().numpy().cumsum()))
        self.means.copy_(mixture.means)
        self.factors.copy_(torch.linalg.cholesky(mixture.covariances))
