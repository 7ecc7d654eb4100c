"""How good a model is, measured on the test set: all figures, and those of reconstruction and of codes and prior."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.maths.mmd import mmd2
from aae_zoo.zoo.measure.class_error import class_error
from aae_zoo.zoo.measure.health import references
from aae_zoo.zoo.measure.measured import Measured
from aae_zoo.zoo.measure.samples import batch_size, in_features, likelihood
from aae_zoo.zoo.recipe import DataSettings

_MMD_ROWS: Final = 1000
_MOMENT_DRAWS: Final = 100_000

Part = Callable[[Measured, Dataset, DataSettings], dict[str, Any]]


def match(model: Measured, dataset: Dataset, _: DataSettings) -> dict[str, Any]:
    """The figures of `evaluate` on the test set."""
    return evaluate(model, dataset.test_images)


PARTS: Final[Sequence[Part]] = (match, references, class_error, likelihood, in_features)


def measure(model: Measured, dataset: Dataset, settings: DataSettings, parts: Sequence[Part] = PARTS) -> dict[str, Any]:
    """The metrics of a model on the test set: all of `PARTS`, or those of some of them, which take less time."""
    metrics: dict[str, Any] = {}
    for part in parts:
        metrics |= part(model, dataset, settings)
    return metrics


def evaluate(model: Measured, images: Tensor, *, draws: int = 10) -> dict[str, Any]:
    """Reconstruction and prior match on images, uint8 [n, C, H, W]; MMD^2 is the mean over `draws` pairs of samples.

    `mse` is per pixel; `bce` the cross-entropy in nats, summed over an image; `mmd2` between codes and prior,
    and `mmd2_prior` between two sets of prior draws, for scale; `code_mean`, `code_covariance` and
    `prior_covariance` in units of the prior's standard deviation and variance.
    """
    reconstruction, z = _reconstruction(model, images)
    generator = torch.Generator().manual_seed(0)
    mean, variance = _prior_moments(model, generator)
    return {
        **reconstruction,
        **_prior_match(model, z, variance, draws, generator),
        "code_mean": ((z - mean).mean(0) / variance**0.5).tolist(),
        "code_covariance": (torch.atleast_2d(torch.cov(z.T)) / variance).tolist(),
        "prior_covariance": (_prior_covariance(model) / variance).tolist(),
    }


@torch.no_grad()
def _prior_moments(model: Measured, generator: Generator) -> tuple[Tensor, float]:
    """The mean [latent] and the mean variance of the code's coordinates."""
    z = model.draw(_MOMENT_DRAWS, generator).codes["z"]
    return z.mean(0), float(z.var(0).mean())


@torch.no_grad()
def _prior_covariance(model: Measured) -> Tensor:
    z = model.draw(_MOMENT_DRAWS, torch.Generator().manual_seed(1)).codes["z"]
    return torch.cov(z.T).reshape(z.shape[1], z.shape[1])


@torch.no_grad()
def _reconstruction(model: Measured, images: Tensor) -> tuple[dict[str, float], Tensor]:
    squared = entropy = 0.0
    codes = []
    for batch in images.split(batch_size(images)):
        x = to_float(batch)
        found = model.encode(x)
        codes.append(found["z"])
        logits = model.decode(found)
        squared += float(F.mse_loss(logits.sigmoid(), x, reduction="sum"))
        entropy += float(F.binary_cross_entropy_with_logits(logits, x, reduction="sum"))
    return {"mse": squared / images.numel(), "bce": entropy / len(images)}, torch.cat(codes)


@torch.no_grad()
def _prior_match(model: Measured, z: Tensor, variance: float, draws: int, generator: Generator) -> dict[str, float]:
    """The mean MMD^2 of 1,000 codes and 1,000 prior draws, and of two sets of prior draws."""
    codes, priors = [], []
    for _ in range(draws):
        some = z[torch.randperm(len(z), generator=generator)[:_MMD_ROWS]]
        first, second = (model.draw(_MMD_ROWS, generator).codes["z"] for _ in range(2))
        codes.append(float(mmd2(some.double(), first.double(), variance)))
        priors.append(float(mmd2(second.double(), first.double(), variance)))
    return {"mmd2": sum(codes) / draws, "mmd2_prior": sum(priors) / draws}
