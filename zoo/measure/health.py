"""Whether a training succeeded at all, and how well, in plain words.

There are three ways to fail for an autoencoder whose prior is drawn from; one that did not may still draw badly.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.measure.measured import Measured
from aae_zoo.zoo.measure.samples import Samples, batch_size
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
# How much of what tells images apart a good reconstruction keeps, and one that is worth looking at.
CLOSE: Final = 0.8
ROUGH: Final = 0.3
# How strong edges of samples are that people see as blurred or noisy, and how much those vary that seem as varied.
BLURRED: Final = 0.75
NOISY: Final = 1.25
VARIED: Final = 0.8
# How far from the prior codes may be of which nothing is said: nearly all shipped models have a tenth of this.
NEAR: Final = 0.05
# What to change in the recipe.
_OF_TRAINING: Final = {
    "far": "train for more epochs, or give the prior more weight in [objective]",
    "alike": "train for more epochs with a lower training.learning_rate, or give the prior less weight in [objective]",
    "blurred": "train for more epochs, with a lower training.learning_rate or a larger prior.size",
}


@torch.no_grad()
def references(model: Measured, dataset: Dataset, _: DataSettings) -> dict[str, Any]:
    """What says whether other figures are good.

    `mean_image_mse` is the squared error per pixel of the mean training image on the test set, `sample_spread`
    the variance of a pixel over samples in that over test images, and `sample_sharpness` the root of the mean squared
    difference of neighbouring pixels of samples in that of test images.
    """
    test, mean, size = dataset.test_images, _mean(dataset.train_images), batch_size(dataset.test_images)
    squared = sum(float((to_float(part) - mean).square().sum()) for part in test.split(size))
    samples = torch.cat([(images * 255).round().byte() for images in Samples(model, size, _SAMPLES)])
    spread = _variance(samples) / max(_variance(test), 1e-12)
    sharpness = (_roughness(samples) / max(_roughness(test), 1e-12)) ** 0.5
    return {"mean_image_mse": squared / test.numel(), "sample_spread": spread, "sample_sharpness": sharpness}


def _mean(images: Tensor) -> Tensor:
    """The mean [C, H, W] of images, uint8 [n, C, H, W]."""
    parts = images.split(batch_size(images))
    return torch.stack([to_float(part).double().sum(0) for part in parts]).sum(0).div(len(images)).float()


def _variance(images: Tensor) -> float:
    """The variance of a pixel over images, uint8 [n, C, H, W], on average."""
    mean, parts = _mean(images), images.split(batch_size(images))
    return sum(float((to_float(part) - mean).square().sum()) for part in parts) / images.numel()


def _roughness(images: Tensor) -> float:
    """The mean squared difference of neighbouring pixels of images, uint8 [n, C, H, W]."""
    total = 0.0
    for part in images.split(batch_size(images)):
        x = to_float(part)
        total += float(x.diff(dim=2).square().sum() + x.diff(dim=3).square().sum())
    return total / images.numel()


def opinion(metrics: Mapping[str, Any]) -> list[str]:
    """What a model of any pictures thinks of itself, in three lines: how it restores, how it draws, what to change.

    `metrics` are those of `metrics.measure`.
    """
    kept = max(0.0, 1 - metrics["mse"] / max(metrics["mean_image_mse"], 1e-12))
    wrong = f", {metrics['error']:.2g} % of the classes are wrong" if "error" in metrics else ""
    sharpness, spread = metrics["sample_sharpness"], metrics["sample_spread"] ** 0.5
    return [
        f"reconstructions: {_restored(kept)}: {kept:.0%} of what tells test images apart is kept (squared error "
        f"{metrics['mse']:.2g} per pixel){wrong}",
        f"samples: {_drawn(sharpness, spread)}: edges are {sharpness:.2g} times as strong as in test images, and they "
        f"vary {spread:.2g} times as much; the codes differ from the prior by an MMD² of {metrics['mmd2']:.2g}, the "
        f"prior's own draws by {metrics['mmd2_prior']:.2g}",
        f"to do better: {_change(metrics, kept, sharpness)}",
    ]


def _restored(kept: float) -> str:
    words = {CLOSE: "close to the pictures", ROUGH: "shapes and colours, few details", 0.0: "hardly anything"}
    return next(word for least, word in words.items() if kept >= least)


def _drawn(sharpness: float, spread: float) -> str:
    sharp = "blurred" if sharpness < BLURRED else "noisy" if sharpness > NOISY else "not blurred"
    return f"{sharp}, {'less' if spread < VARIED else 'as'} varied {'than' if spread < VARIED else 'as'} the pictures"


def _change(metrics: Mapping[str, Any], kept: float, sharpness: float) -> str:
    """The one thing that is most worth a try."""
    if metrics["mmd2"] - metrics["mmd2_prior"] > NEAR:
        return "draws are of codes that few pictures have; train for more epochs, such as --set training.epochs=40"
    if kept < CLOSE:
        return "train for more epochs, or with a larger prior.size; of a few hundred pictures, give more"
    if sharpness < BLURRED:
        return "train for more epochs, or give more pictures that are alike"
    return "look at the samples: by these figures nothing is amiss, and more epochs or pictures are all that may help"


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
