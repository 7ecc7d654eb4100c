"""How good a model is, measured on the test set: reconstruction, and how well the codes match the prior."""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data import to_float

_BATCH: Final = 1000
_MMD_SCALES: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10)
_MMD_ROWS: Final = 1000
_VARIANCE_DRAWS: Final = 100_000


def evaluate(model: Autoencoder, images: Tensor, *, draws: int = 10) -> dict[str, Any]:
    """All metrics of a model on images, uint8 [n, C, H, W]; MMD^2 is the mean over `draws` pairs of samples.

    `mse` is per pixel; `bce` the cross-entropy in nats, summed over an image; `mmd2` between codes and prior,
    and `mmd2_prior` between two sets of prior draws, for scale; `code_mean` and `code_covariance` in units of
    the prior's standard deviation and variance.
    """
    model.eval()
    reconstruction, z = _reconstruction(model, images)
    generator = torch.Generator().manual_seed(0)
    prior = model.prior.draw(_VARIANCE_DRAWS, generator)["z"]
    variance = float(prior.var(0).mean())
    return {
        **reconstruction,
        **_prior_match(model, z, variance, draws, generator),
        "code_mean": ((z - prior.mean(0)).mean(0) / variance**0.5).tolist(),
        "code_covariance": (torch.atleast_2d(torch.cov(z.T)) / variance).tolist(),
    }


@torch.no_grad()
def _reconstruction(model: Autoencoder, images: Tensor) -> tuple[dict[str, float], Tensor]:
    squared = entropy = 0.0
    codes = []
    for batch in images.split(_BATCH):
        x = to_float(batch)
        codes.append(model.encoder(x)["z"])
        logits = model.decoder.logits(codes[-1])
        squared += float(F.mse_loss(logits.sigmoid(), x, reduction="sum"))
        entropy += float(F.binary_cross_entropy_with_logits(logits, x, reduction="sum"))
    return {"mse": squared / images.numel(), "bce": entropy / len(images)}, torch.cat(codes)


@torch.no_grad()
def _prior_match(model: Autoencoder, z: Tensor, variance: float, draws: int, generator: Generator) -> dict[str, float]:
    """The mean MMD^2 of 1,000 codes and 1,000 prior draws, and of two sets of prior draws."""
    codes, priors = [], []
    for _ in range(draws):
        some = z[torch.randperm(len(z), generator=generator)[:_MMD_ROWS]]
        first, second = (model.prior.draw(_MMD_ROWS, generator)["z"] for _ in range(2))
        codes.append(mmd2(some, first, variance))
        priors.append(mmd2(second, first, variance))
    return {"mmd2": sum(codes) / draws, "mmd2_prior": sum(priors) / draws}


def mmd2(a: Tensor, b: Tensor, variance: float) -> float:
    """The unbiased squared maximum mean discrepancy of two samples [n, d] and [m, d], in float64.

    Gretton et al., "A kernel two-sample test" (JMLR 2012), equation 3, with a sum of inverse multiquadratic
    kernels C / (C + |a - b|^2), C = 2 d v s (Tolstikhin et al., "Wasserstein auto-encoders", ICLR 2018).
    """
    a, b = a.double(), b.double()
    scales = [2 * a.shape[1] * variance * s for s in _MMD_SCALES]

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = torch.cdist(x, y).square()
        return sum((c / (c + squared) for c in scales), torch.zeros_like(squared))

    def off_diagonal_mean(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    return float(off_diagonal_mean(kernel(a, a)) + off_diagonal_mean(kernel(b, b)) - 2 * kernel(a, b).mean())
