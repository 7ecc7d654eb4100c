"""How good a model is, measured on the test set: reconstruction, and how well the codes match the prior."""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.loading import validation_images
from aae_zoo.zoo.maths.mmd import mmd2
from aae_zoo.zoo.measure.class_error import class_error
from aae_zoo.zoo.measure.samples import batch_size, sample_quality
from aae_zoo.zoo.recipe import Recipe

_MMD_ROWS: Final = 1000


def measure(model: Autoencoder, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    """All metrics of a model on the test set: of `evaluate`, `classes.class_error` and `samples.sample_quality`."""
    metrics = evaluate(model, dataset.test_images)
    if "y" in model.prior.heads() and dataset.label_names:
        metrics |= class_error(model, dataset, recipe)
    validation = validation_images(recipe.data, dataset)
    return metrics | sample_quality(model, dataset, validation, labelled=recipe.data.labels != 0)


def evaluate(model: Autoencoder, images: Tensor, *, draws: int = 10) -> dict[str, Any]:
    """Reconstruction and prior match on images, uint8 [n, C, H, W]; MMD^2 is the mean over `draws` pairs of samples.

    `mse` is per pixel; `bce` the cross-entropy in nats, summed over an image; `mmd2` between codes and prior,
    and `mmd2_prior` between two sets of prior draws, for scale; `code_mean`, `code_covariance` and
    `prior_covariance` in units of the prior's standard deviation and variance.
    """
    model.eval()
    reconstruction, z = _reconstruction(model, images)
    generator = torch.Generator().manual_seed(0)
    mean, variance = model.prior.moments(generator)
    return {
        **reconstruction,
        **_prior_match(model, z, variance, draws, generator),
        "code_mean": ((z - mean).mean(0) / variance**0.5).tolist(),
        "code_covariance": (torch.atleast_2d(torch.cov(z.T)) / variance).tolist(),
        "prior_covariance": (_prior_covariance(model) / variance).tolist(),
    }


@torch.no_grad()
def _prior_covariance(model: Autoencoder) -> Tensor:
    z = model.prior.draw(100_000, torch.Generator().manual_seed(1))["z"]
    return torch.cov(z.T).reshape(z.shape[1], z.shape[1])


@torch.no_grad()
def _reconstruction(model: Autoencoder, images: Tensor) -> tuple[dict[str, float], Tensor]:
    squared = entropy = 0.0
    codes = []
    for batch in images.split(batch_size(images)):
        x = to_float(batch)
        found = model.encode(x)
        codes.append(found["z"])
        logits = model.logits(found)
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
        codes.append(float(mmd2(some.double(), first.double(), variance)))
        priors.append(float(mmd2(second.double(), first.double(), variance)))
    return {"mmd2": sum(codes) / draws, "mmd2_prior": sum(priors) / draws}
