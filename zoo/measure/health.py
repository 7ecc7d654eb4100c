"""Whether a training succeeded at all: the three ways to fail of an autoencoder whose prior is drawn from."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Generator, Tensor

from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.measure.measured import Measured
from aae_zoo.zoo.measure.samples import batch_size
from aae_zoo.zoo.recipe import DataSettings

_SAMPLES: Final = 1000
# What draws of a Gaussian prior have from the same prior moved by half its standard deviation in every coordinate:
# 0.25 in 2-D and 0.27 from 8-D on. Of the recipes that come with aae-zoo the worst has 0.12, of bits that are not fair;
# codes that have all fallen onto the prior's mean have 1.5 and more.
FAR: Final = 0.25
# A tenth, in standard deviations, of how pictures differ from one another: people see one picture. The least of a
# recipe that comes with aae-zoo is 0.34.
ALIKE: Final = 0.01
# The mean picture is what a decoder learns that ignores its code; a twentieth less is no more than how bright a picture
# is. The worst of a recipe that comes with aae-zoo, in two dimensions, is 0.67.
BETTER: Final = 0.95
# What to change in the recipe.
_OF_TRAINING: Final = {
    "far": "train for more epochs, or give the prior more weight in [objective]",
    "alike": "train for more epochs with a lower training.learning_rate, or give the prior less weight in [objective]",
    "blurred": "train for more epochs, with a lower training.learning_rate or a larger prior.size",
}


@torch.no_grad()
def references(model: Measured, dataset: Dataset, _: DataSettings) -> dict[str, Any]:
    """What says whether other figures are good.

    `mean_image_mse` is the squared error per pixel of the mean training image on the test set, and `sample_spread`
    the variance of a pixel over samples in that over test images.
    """
    test, mean = dataset.test_images, _mean(dataset.train_images)
    squared = sum(float((to_float(part) - mean).square().sum()) for part in test.split(batch_size(test)))
    codes = model.draw(_SAMPLES, Generator().manual_seed(0)).codes
    size = batch_size(test)
    batches = [{k: v[start : start + size] for k, v in codes.items()} for start in range(0, _SAMPLES, size)]
    samples = torch.cat([(model.decode(batch).sigmoid() * 255).round().byte() for batch in batches])
    spread = _variance(samples) / max(_variance(test), 1e-12)
    return {"mean_image_mse": squared / test.numel(), "sample_spread": spread}


def _mean(images: Tensor) -> Tensor:
    """The mean [C, H, W] of images, uint8 [n, C, H, W]."""
    parts = images.split(batch_size(images))
    return torch.stack([to_float(part).double().sum(0) for part in parts]).sum(0).div(len(images)).float()


def _variance(images: Tensor) -> float:
    """The variance of a pixel over images, uint8 [n, C, H, W], on average."""
    mean, parts = _mean(images), images.split(batch_size(images))
    return sum(float((to_float(part) - mean).square().sum()) for part in parts) / images.numel()


def problems(metrics: Mapping[str, Any], mends: Mapping[str, str] = _OF_TRAINING) -> list[str]:
    """In what a training failed, one sentence each with what to change; none where it did not.

    `metrics` are those of `metrics.measure`; of a run of an earlier version, without `references`, less is known.
    `mends` say what to change where codes are "far" from the prior, samples "alike", or reconstructions "blurred".
    """
    found = []
    own = metrics["mmd2_prior"]
    if metrics["mmd2"] - own > FAR:
        found.append(
            f"the codes are far from the prior: their MMD² is {metrics['mmd2']:.2g}, expected at most {FAR} more than "
            f"the {own:.2g} of the prior's own draws, so that samples are no pictures; {mends['far']}"
        )
    if metrics.get("sample_spread", 1) < ALIKE:
        found.append(
            f"the samples are all alike: they vary by {metrics['sample_spread']:.2g} of the pictures' variance, "
            f"expected {ALIKE} or more; {mends['alike']}"
        )
    if metrics["mse"] > BETTER * metrics.get("mean_image_mse", float("inf")):
        found.append(
            f"the reconstructions are no better than the mean picture: their squared error per pixel is "
            f"{metrics['mse']:.2g}, that of the mean picture {metrics['mean_image_mse']:.2g}; {mends['blurred']}"
        )
    return found
