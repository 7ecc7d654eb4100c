"""Anybody's samples by the yardstick of this zoo: how they compare with the real pictures of a data set."""

import math
from pathlib import Path
from typing import Any, Final, Unpack

import torch
from torch import Tensor

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.images import read_images
from aae_zoo.runtime.formats.plan import How, Plan
from aae_zoo.runtime.words import counted
from aae_zoo.zoo.data.dataset import as_float
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.measure.classifier import CLASSIFIERS, Classifier, load_classifier
from aae_zoo.zoo.measure.likeness import likeness, nearest_distances
from aae_zoo.zoo.measure.samples import features_of, quality

_FEWEST: Final = 100
# Beyond these the figures hardly change, and take long.
_MOST: Final = 10_000
_NEAREST: Final = 1000
_COPY: Final = 0.01
_PART: Final = 10_000
_SEED: Final = 0


@torch.no_grad()
def judge(samples: Path, dataset: str, *, data: Path | None = None, **how: Unpack[How]) -> dict[str, Any]:
    """How samples, an array or a folder of pictures, compare with the test images of a data set.

    `samples` and `real` have the same figures, those of `real` being of as many training images, to tell what is good:
    `count`; `frechet`, `classifier_score` and `class_entropy` as `samples.in_features` has them; `precision`, `recall`,
    `density` and `coverage` as `likeness` has them, of up to 10,000; `nearest`, the median root mean square error over
    the pixels between a picture (for `real` a test image) and the training image nearest to it, and `copies`, the share
    of pictures that are nearer to one than 99 % of the test images are, both of up to 1,000. Where not all are taken
    they are chosen at random, the same each time. `classifier` is whose features they are. A Fréchet distance falls
    with the number of samples: compare figures of as many.

    Raises:
        InvalidInput: there are fewer than 100 samples, they are not images like those of the data set, or the package
            has no classifier of it.
        DatasetError: the data set is missing or damaged.
    """
    loaded = load_classifier(dataset)
    if loaded is None:
        known = ", ".join(sorted(path.stem for path in CLASSIFIERS.glob("*.safetensors")))
        raise InvalidInput(f"there is no classifier of {dataset} to judge with; there are those of {known}")
    (classifier, facts), real = loaded, load_dataset(dataset, data)
    drawn = _read(samples, Plan(ImageShape(*real.image_shape), real.preparation, **how))
    test = features_of(classifier, real.test_images)
    usual = _nearest(real.test_images, real.train_images)
    near = {"samples": _nearest(drawn, real.train_images), "real": usual}
    return {"dataset": real.name, "classifier": facts} | {
        name: {
            "count": len(images),
            **_in_features(classifier, features_of(classifier, images), test),
            "nearest": float(near[name].median()),
            "copies": float((near[name] < usual.quantile(_COPY)).float().mean()),
        }
        for name, images in (("samples", drawn), ("real", _some(real.train_images, len(drawn))))
    }


def _read(path: Path, plan: Plan) -> Tensor:
    """The samples in [0, 1], [n, C, H, W]."""
    images = read_images(path, plan, strict=True)
    if len(images) < _FEWEST:
        raise InvalidInput(
            f"{path} has {counted(len(images), 'image')}, expected at least {_FEWEST} to judge a model by"
        )
    return torch.from_numpy(images.rows(slice(None)).copy())  # which may be the file's, for reading alone


def _in_features(classifier: Classifier, features: Tensor, test: Tensor) -> dict[str, float]:
    return {**quality(classifier, features, test), **likeness(_some(test, _MOST), _some(features, _MOST))._asdict()}


def _nearest(images: Tensor, training: Tensor) -> Tensor:
    """The root mean square errors between some of the images and the training image nearest to each, [n]."""
    chosen = as_float(_some(images, _NEAREST)).flatten(1)
    nearest = torch.full((len(chosen),), torch.inf)
    for part in training.split(_PART):
        nearest = nearest.minimum(nearest_distances(chosen, as_float(part).flatten(1)))
    return nearest / math.sqrt(chosen.shape[1])


def _some(rows: Tensor, count: int) -> Tensor:
    """So many of the rows, or all: at random, as samples may stand by class, and MNIST's images by writer."""
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(_SEED))[:count]]
