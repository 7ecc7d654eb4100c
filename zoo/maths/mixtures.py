"""Gaussian mixtures fitted by expectation maximisation, from the centres of k-means++: on a CPU or on a card."""

import math
from typing import Final, NamedTuple

import torch
from sklearn.cluster import kmeans_plusplus
from sklearn.mixture import GaussianMixture
from torch import Tensor

_REGULARISER: Final = 1e-4  # added to every variance
_ROUNDS: Final = 100
_TOLERANCE: Final = 1e-3  # of the mean log-likelihood, below which the next round is not worth it


class Mixture(NamedTuple):
    """Gaussians with weights [k], means [k, d] and covariances [k, d, d]."""

    weights: Tensor
    means: Tensor
    covariances: Tensor


def fit_mixture(points: Tensor, count: int, seed: int) -> Mixture:
    """A mixture of `count` Gaussians fitted to points [n, d], on the device that they are on.

    On a CPU scikit-learn does it, on a card `expectation_maximisation`, from the same centres: the two find the same
    mixture but for rounding.
    """
    if points.is_cuda:
        return expectation_maximisation(points, count, seed)
    mixture = GaussianMixture(count, reg_covar=_REGULARISER, init_params="k-means++", random_state=seed)
    mixture.fit(points.numpy())
    return Mixture(*map(torch.from_numpy, (mixture.weights_, mixture.means_, mixture.covariances_)))


def expectation_maximisation(points: Tensor, count: int, seed: int) -> Mixture:
    """The same in float64, all Gaussians at a time (Bishop, "Pattern Recognition and Machine Learning", 9.2.2)."""
    centres, _ = kmeans_plusplus(points.cpu().numpy(), count, random_state=seed)
    x = points.double()
    small = _REGULARISER * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    found = Mixture(x.new_full((count,), 1 / len(x)), torch.from_numpy(centres).to(x), small.repeat(count, 1, 1))
    before = -math.inf
    for _ in range(_ROUNDS):
        log_densities = _log_densities(x, found)
        likelihoods = log_densities.logsumexp(0)
        shares = (log_densities - likelihoods).exp()
        sizes = shares.sum(1) + 10 * torch.finfo(x.dtype).eps
        means = shares @ x / sizes[:, None]
        apart = x - means[:, None]
        covariances = (shares[..., None] * apart).mT @ apart / sizes[:, None, None] + small
        found = Mixture(sizes / sizes.sum(), means, covariances)
        after = float(likelihoods.mean())
        if abs(after - before) < _TOLERANCE:
            break
        before = after
    return found


def _log_densities(x: Tensor, mixture: Mixture) -> Tensor:
    """The logarithms of each Gaussian's weighted density at points [n, d]: [k, n]."""
    factors = torch.linalg.cholesky(mixture.covariances)
    scaled = torch.linalg.solve_triangular(factors, (x - mixture.means[:, None]).mT, upper=False)  # [k, d, n]
    volumes = factors.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * x.shape[1] * math.log(2 * math.pi)
    found: Tensor = (mixture.weights.log() - volumes)[:, None] - 0.5 * scaled.square().sum(1)
    return found
