"""Someone's images as a data set: which of them figures are of, which limits, and which the fitted prior."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aae_zoo.export.own.modules import Facts
from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.arrays import as_array
from aae_zoo.runtime.formats.folders import natural
from aae_zoo.runtime.formats.images import from_array
from aae_zoo.runtime.formats.plan import Plan
from aae_zoo.runtime.words import agreeing, counted
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import declarations
from aae_zoo.zoo.data.pictures import polarity

LEAST: Final = 100
# A quarter of the images is for the figures, but no more than MNIST has for them, and as many are for the limits.
_SHARE: Final = 4
_MOST: Final = 10_000
_ROWS: Final = 4096


def own_dataset(images: Any, labels: Any, facts: Facts, classes: Sequence[str]) -> Dataset:
    """A data set of images [n, C, H, W], bytes or floats in [0, 1], or another data set, with these facts.

    `labels` are n numbers or names of classes, or None; `classes` are all names in their order, if that is known.

    Raises:
        InvalidInput: there are too few images, of another shape or range, or other labels than images or classes.
    """
    dataset = images if isinstance(images, Dataset) else _dataset(images, labels)
    _check_count(len(dataset.train_images) + len(dataset.test_images))
    name = facts.get("dataset", dataset.name)
    declared = declarations().get(name)
    if declared and declared.IMAGE_SHAPE not in (None, dataset.image_shape):
        raise InvalidInput(
            f"the images of {name} are {declared.IMAGE_SHAPE}, and these {dataset.image_shape}; give the fact dataset "
            "another name"
        )
    dataset = replace(dataset, name=name, licence=facts.get("data_licence", dataset.licence))
    return _in_order(dataset, tuple(classes)) if classes and dataset.label_names else dataset


def _in_order(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The data set with its labels as numbers of these classes."""
    names = dataset.label_names
    if set(names) <= set(classes):
        places = torch.tensor([classes.index(name) for name in names])
    elif names == tuple(map(str, range(len(names)))) and len(names) <= len(classes):
        places = torch.arange(len(names))
    else:
        raise InvalidInput(
            f"the labels are {', '.join(names)[:200]}, and the classes {', '.join(classes)[:200]}; give classes with "
            "the names of all labels, or leave out the labels"
        )
    train, test = places[dataset.train_labels], places[dataset.test_labels]
    return replace(dataset, train_labels=train, test_labels=test, label_names=classes)


def _dataset(images: Any, labels: Any) -> Dataset:
    pixels = _pixels(as_array(images, "images"))
    classes, names = _classes(labels, len(pixels))
    count = min(len(pixels) // _SHARE, _MOST)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    pixels, classes = pixels[order], classes[order]
    return Dataset(
        name="own-images",
        train_images=pixels[count:],
        train_labels=classes[count:],
        test_images=pixels[:count],
        test_labels=classes[:count],
        label_names=names,
        md5s={},
        preparation=USUAL_PREPARATION._replace(polarity=polarity(pixels)),
    )


def validation_count(dataset: Dataset) -> int:
    """How many of the training images, the last ones, are for the limits."""
    return min(-(-len(dataset.train_images) // 3), _MOST)


def _check_count(count: int) -> None:
    if count < LEAST:
        raise InvalidInput(
            f"there {agreeing(count, 'is', 'are')} {counted(count, 'image')}, expected {LEAST} or more, better some "
            "thousand: the figures, the score's limits and a fitted prior are of them"
        )


def _pixels(array: NDArray[Any]) -> Tensor:
    """Images as uint8 [n, C, H, W]."""
    if array.size == 0:
        _check_count(0)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not 1 <= array.shape[1] <= 4:
        mend = "; move the channels: images.transpose(0, 3, 1, 2)" if array.ndim == 4 and array.shape[3] < 5 else ""
        raise InvalidInput(f"the images have shape {list(array.shape)}, expected [n, C, H, W] with C from 1 to 4{mend}")
    _check_count(len(array))
    given = from_array(array, Plan(ImageShape(*array.shape[1:])))
    pixels = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _ROWS):
        part = slice(start, start + _ROWS)
        pixels[part] = np.rint(given.rows(part) * 255)
    return torch.from_numpy(pixels)


def _classes(labels: Any, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """The number of each image's class, -1 without labels, and the names of the classes."""
    if labels is None:
        return torch.full((count,), -1), ()
    array = as_array(labels, "labels")
    if array.shape != (count,) or array.dtype.kind not in "iuU":
        raise InvalidInput(
            f"the labels are {array.dtype} {list(array.shape)}, expected the number or the name of a class for each of "
            f"{counted(count, 'image')}"
        )
    if array.dtype.kind == "U":
        names = sorted(set(array.tolist()), key=natural)
        return torch.tensor([names.index(name) for name in array.tolist()]), tuple(names)
    if array.min() < 0 or array.max() >= 1 << 16:
        raise InvalidInput(f"the labels go from {array.min()} to {array.max()}, expected numbers of classes from 0")
    return torch.from_numpy(array.astype(np.int64)), tuple(map(str, range(int(array.max()) + 1)))
